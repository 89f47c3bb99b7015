/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who made the call: the first return address on the stack outside libmrn, libc and ld.so.
 *
 * Our own libraries keep frame pointers, so the way out of them is a walk along those, up to the wrapper
 * that the program called. Mostly that is all: its return address is the call site. Where libc called
 * (fclose calls free), the walk goes on by libc's own unwind table (cfi.h). Frame pointers of the
 * program itself are not relied on: it needs none.
 *
 * Not libunwind: its step asks dl_iterate_phdr, which takes the loader's lock, that a thread in dlopen
 * or dlclose holds while it unmaps; and its caches allocate.
 */
#ifndef MRN_WATCH_CALLER_H
#define MRN_WATCH_CALLER_H

#include <stdint.h>

/* Finds out where libmrn, libc and ld.so lie, which never leave. Once, before the first capture. */
void watch_caller_start(void);

/*
 * Fills *site with the address, and *via with the one in libc that was called from there, 0 for
 * what is not there or cannot be found. On the event path.
 */
void watch_caller_find(uint64_t *site, uint64_t *via);

#endif
