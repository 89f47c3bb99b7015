/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which processes exist, by their numbers in /proc: the log uses these. If /proc is of another pid namespace, they are
 * not the kernel's numbers for this process.
 */
#ifndef MRN_WATCH_ALIVE_H
#define MRN_WATCH_ALIVE_H

#include <stdbool.h>
#include <stdint.h>

/* This process's number; 0: no /proc. */
uint32_t alive_own_number(void);
/* True also for a zombie. by_proc: asks /proc, since the kernel's numbers differ here. */
bool alive_is_there(uint32_t pid, bool by_proc);
/* True if it has ended with all its threads, and waits to be reaped. */
bool alive_is_zombie(uint32_t pid);

#endif
