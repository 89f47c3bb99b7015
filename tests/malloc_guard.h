/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A malloc that aborts on the event path: linked into a test program it stands in front of libc's,
 * and whoever allocates or frees between MRN_EVENT_PATH_ENTER and _LEAVE, in the library or in a
 * callback, ends the process with a message. As somebody's free() may be what called us, that is
 * what a deadlock would look like.
 */
#ifndef TESTS_MALLOC_GUARD_H
#define TESTS_MALLOC_GUARD_H

#include <stdbool.h>

/* Is it in force here? Not under sanitizers, which own malloc, nor without glibc. */
bool malloc_guard_works(void);

/* How many calls it has seen in this process; goes up with every malloc. */
unsigned long malloc_guard_calls(void);

#endif
