/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * execve: all memory goes, and what else the process has may stay: a device that is still open keeps pages pinned that nobody
 * can reach. The token is over when the call fails; when it does not, there is nobody who would wait for it.
 */
#include "core/mm.h"
#include "os/syscall.h"
#include "source/bracket/calls.h"

#include "os/event_path.h"

void mrn_bracket_exec(struct mrn_bracket *b)
{
	const struct mrn_mm *mm = mrn_mm_self();

	mrn_bracket_none(b);
	/* The child of a vfork leaves this memory as it is. */
	if (mm && mm->pid && mm->pid == mrn_sys0(SYS_getpid))
		mrn_bracket_add_everything(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_EXEC);
}
