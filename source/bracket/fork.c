/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork: all that is private becomes the child's, too, and whoever writes to a page first gets a copy. Pinned pages stay the
 * parent's since Linux 5.12; what is not pinned does not.
 */
#include "source/bracket/calls.h"

#include "os/event_path.h"

void mrn_bracket_fork(struct mrn_bracket *b)
{
	mrn_bracket_none(b);
	mrn_bracket_add_everything(b, MMU_NOTIFY_PROTECTION_PAGE, MRN_CAUSE_FORK);
}
