/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * execve: all memory goes, and other things may stay: an open device keeps pages pinned that nobody can reach. The
 * token ends if the call fails; if it succeeds, nobody is left to wait for it.
 */
#include "os/syscall.h"
#include "source/bracket/calls.h"
#include "source/process.h"

#include "os/event_path.h"

void mrn_bracket_exec(struct mrn_bracket *b)
{
	mrn_bracket_none(b);
	mrn_bracket_add_everything(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_EXEC);
}

void mrn_bracket_exec_by_name(struct mrn_bracket *b)
{
	int32_t owner = mrn_source_process_pid();
	long pid;

	mrn_bracket_none(b);
	/* Asks the kernel, which a sandbox may punish, only if it matters. */
	if (!owner || mrn_bracket_tells_nobody())
		return;
	pid = mrn_sys0(SYS_getpid);
	/* A refused getpid counts as this process. */
	if (pid == owner || pid < 0)
		mrn_bracket_exec(b);
}
