/* SPDX-License-Identifier: BSD-3-Clause */
/* A whole stack, as a list of return addresses. */
#ifndef MRN_WATCH_FRAMES_H
#define MRN_WATCH_FRAMES_H

#include <stdint.h>

/*
 * Fills pc with the return addresses of this thread's frames outside our own libraries, innermost first; libc's are
 * among them. Returns how many, at most max. Fewer than there are if a module has no unwind table, as generated code has
 * none; or if one is not known yet when the program forbids itself calls. On the event path.
 */
unsigned int watch_frames_take(uint64_t *pc, unsigned int max);

#endif
