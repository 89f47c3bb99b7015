/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/interposer.h"

#include "core/mm.h"
#include "source/dispatch/dispatch.h"

static bool present;

void mrn_interposer_present(void)
{
	__atomic_store_n(&present, true, __ATOMIC_RELEASE);
}

bool mrn_interposer_is_present(void)
{
	return __atomic_load_n(&present, __ATOMIC_ACQUIRE);
}

bool mrn_is_in_dispatch(void)
{
	return mrn_dispatch_depth != 0;
}

bool mrn_source_watches(uintptr_t start, uintptr_t end)
{
	struct mrn_mm *mm = mrn_mm_self();

	return mm && mrn_mm_is_covered(mm, start, end);
}
