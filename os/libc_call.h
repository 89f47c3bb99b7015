/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A system call by libc's function for it, as a program makes it. For who tries what the sources see: it announces the
 * change where that function is interposed, and changes errno.
 */
#ifndef MRN_OS_LIBC_CALL_H
#define MRN_OS_LIBC_CALL_H

/* The kernel's own value, -errno on failure; -ENOSYS for a call that libc_call.c does not list. */
long mrn_libc_call(long nr, const long a[6]);

#endif
