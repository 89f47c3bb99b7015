/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Raw system calls: the one seam to the kernel.
 *
 * Not libc's syscall(): source/interpose replaces it, it changes errno, and the callers here run inside other code's
 * munmap and free. Every function returns the kernel's own value, -errno on failure; none touches errno; all are
 * async-signal-safe.
 *
 * mrn_sys6 and mrn_raw always make the call: use them for the program's calls. All others are for our own calls, and
 * are not made if the program's sandbox is known to refuse them: os/refused.h.
 */
#ifndef MRN_OS_SYSCALL_H
#define MRN_OS_SYSCALL_H

#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "os/refused.h"

#if defined(__x86_64__)
/* In syscall-x86_64.S, which says why it is not inline. */
__attribute__((visibility("hidden"))) long mrn_sys6(long nr, long a, long b, long c, long d, long e,
						    long f);
#elif defined(__aarch64__)
static inline long mrn_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "mrn knows the system call convention of x86-64 and aarch64 only"
#endif

static inline long mrn_own6(long nr, long a, long b, long c, long d, long e, long f)
{
	return mrn_is_refused(nr) ? -EPERM : mrn_sys6(nr, a, b, c, d, e, f);
}

static inline long mrn_sys0(long nr)
{
	return mrn_own6(nr, 0, 0, 0, 0, 0, 0);
}

static inline long mrn_sys1(long nr, long a)
{
	return mrn_own6(nr, a, 0, 0, 0, 0, 0);
}

static inline long mrn_sys2(long nr, long a, long b)
{
	return mrn_own6(nr, a, b, 0, 0, 0, 0);
}

static inline long mrn_sys3(long nr, long a, long b, long c)
{
	return mrn_own6(nr, a, b, c, 0, 0, 0);
}

static inline long mrn_sys4(long nr, long a, long b, long c, long d)
{
	return mrn_own6(nr, a, b, c, d, 0, 0);
}

static inline long mrn_raw(long nr, long a, long b, long c, long d)
{
	return mrn_sys6(nr, a, b, c, d, 0, 0);
}

/* True if a raw return value is an error: -4095 to -1. */
static inline int mrn_sys_failed(long ret)
{
	return (unsigned long)ret > -4096UL;
}

#endif
