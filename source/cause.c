/* SPDX-License-Identifier: BSD-3-Clause */
#include <mrn/mmu_notifier.h>

/* Coverage masks have other bits from 32 on. */
_Static_assert(MRN_NR_CAUSES <= 32, "a coverage mask has no more bits for causes");

#define CAUSE(ID, name, group) +1
enum {
	ROWS = 0
#include "source/causes.def"
};
_Static_assert(ROWS == (int)MRN_NR_CAUSES, "source/causes.def has a row for each cause");

const char *mrn_cause_name(enum mrn_cause cause)
{
#define CAUSE(ID, name, group) [MRN_CAUSE_##ID] = #name,
	static const char *const name[MRN_NR_CAUSES] = {
#include "source/causes.def"
	};

	return (unsigned int)cause < MRN_NR_CAUSES ? name[cause] : "unknown";
}
