/* SPDX-License-Identifier: BSD-3-Clause */
/* brk, and sbrk, which uses it. */
#include "os/syscall.h"
#include "source/bracket/calls.h"

#include "os/event_path.h"

void mrn_bracket_brk(struct mrn_bracket *b, uintptr_t to)
{
	uintptr_t now;

	mrn_bracket_none(b);
	/* 0 asks where the break is. */
	if (!to || mrn_bracket_needs_no_look(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_BRK))
		return;
	now = (uintptr_t)mrn_sys1(SYS_brk, 0);
	if (mrn_page_up(to) < mrn_page_up(now))
		mrn_bracket_add(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_BRK, mrn_page_up(to), now);
}
