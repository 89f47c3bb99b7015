/* SPDX-License-Identifier: BSD-3-Clause */
/* The caller: the first return address on the stack outside libmrn, libc and ld.so. */
#ifndef MRN_WATCH_CALLER_H
#define MRN_WATCH_CALLER_H

#include <stdint.h>

/*
 * Fills *site with the address, and *via with the return address in libc that was called from there; 0 for what is
 * missing or cannot be found. On the event path.
 */
void watch_caller_find(uint64_t *site, uint64_t *via);

#endif
