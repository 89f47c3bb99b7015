/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Has the program begun to forbid itself system calls, by seccomp? From then on one that it does not make itself may be its
 * end, so what can be left out is. Stays, in a forked child too, as a filter does. What is made by all means is listed in
 * docs/sources.md.
 */
#ifndef MRN_SOURCE_CONFINED_H
#define MRN_SOURCE_CONFINED_H

#include <linux/seccomp.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* For whoever sees the call that does it, before it is made. */
void mrn_confine(void);
bool mrn_is_confined(void);

/* As the kernel reads them: see bracket/read.h. */
static inline bool mrn_call_confines(long nr, long first)
{
	return nr == SYS_seccomp || (nr == SYS_prctl && first == PR_SET_SECCOMP);
}

#endif
