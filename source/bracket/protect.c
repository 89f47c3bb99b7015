/* SPDX-License-Identifier: BSD-3-Clause */
/* mprotect, pkey_mprotect. */

#include <sys/mman.h>

#include "source/bracket/calls.h"

#include "os/event_path.h"

void mrn_bracket_mprotect(struct mrn_bracket *b, const void *addr, size_t length, int prot)
{
	uintptr_t start, end;

	mrn_bracket_none(b);
	if (!mrn_pages_spanned(addr, length, &start, &end))
		return;
	/* These reach to an end of the mapping that only the kernel knows. */
	if (prot & (PROT_GROWSDOWN | PROT_GROWSUP))
		mrn_bracket_add_everything(b, MMU_NOTIFY_PROTECTION_VMA, MRN_CAUSE_MPROTECT);
	else
		mrn_bracket_add(b, MMU_NOTIFY_PROTECTION_VMA, MRN_CAUSE_MPROTECT, start, end);
}
