/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork: the child shares all private pages, and the first write to a page by either process makes a copy. Since Linux
 * 5.12 pinned pages stay the parent's; others need not.
 */
#include "source/bracket/calls.h"

#include "os/event_path.h"

void mrn_bracket_fork(struct mrn_bracket *b)
{
	mrn_bracket_none(b);
	mrn_bracket_add_everything(b, MMU_NOTIFY_PROTECTION_PAGE, MRN_CAUSE_FORK);
}
