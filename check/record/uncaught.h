/* SPDX-License-Identifier: BSD-3-Clause */
/* For functions that stand in front of libc's and liburing's, where dispatch does not catch a thread. */
#ifndef MRN_CHECK_UNCAUGHT_H
#define MRN_CHECK_UNCAUGHT_H

#include <stdbool.h>

/* True if what this thread calls is to be seen here: dispatch does not see it, and its process is followed. */
bool check_is_uncaught(void);
/*
 * False if dispatch sees the call itself. Else shows it, with up to four arguments, as check_call_sees; errno is kept.
 */
bool check_uncaught(long nr, long a, long b, long c, long d, long *result);
/* libc's form of a kernel's value. */
long check_libc_result(long r);

#endif
