/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The caller: the first return address on the stack outside libmrn, libc and ld.so.
 *
 * Our own libraries keep frame pointers, so the walk follows those up to the wrapper that the program called. Mostly
 * that is all: the wrapper's return address is the call site. If libc called (fclose calls free), the walk goes on by
 * libc's own unwind table (cfi.h). The program itself need not have frame pointers.
 *
 * Not libunwind: its step calls dl_iterate_phdr, which takes the loader's lock, and a thread in dlopen or dlclose holds
 * that lock while it unmaps; and its caches allocate.
 */
#ifndef MRN_WATCH_CALLER_H
#define MRN_WATCH_CALLER_H

#include <stdint.h>

/* Finds out where libmrn, libc and ld.so lie; they are never unloaded. Call once, before the first capture. */
void watch_caller_start(void);

/*
 * Fills *site with the address, and *via with the return address in libc that was called from there; 0 for what is
 * missing or cannot be found. On the event path.
 */
void watch_caller_find(uint64_t *site, uint64_t *via);

#endif
