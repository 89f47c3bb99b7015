/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which processes there are, by the numbers that /proc has for them: so they are called in the log, and where /proc is another
 * namespace's those are not the kernel's to us.
 */
#ifndef MRN_WATCH_ALIVE_H
#define MRN_WATCH_ALIVE_H

#include <stdbool.h>
#include <stdint.h>

/* This process's; 0: there is no /proc. */
uint32_t alive_own_number(void);
/* One that nobody has waited for, too. by_proc: asks /proc, for the kernel has other numbers here. */
bool alive_is_there(uint32_t pid, bool by_proc);
/* Has it ended, all its threads with it, and is only to be waited for? */
bool alive_is_zombie(uint32_t pid);

#endif
