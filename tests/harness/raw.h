/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The few system calls the harness makes from inside a test, as instructions.
 *
 * Neither libc's wrappers nor os/syscall.h: the first are what some tests interpose, the second is
 * part of what is tested, and a harness must go on working when either is broken.
 */
#ifndef TESTS_HARNESS_RAW_H
#define TESTS_HARNESS_RAW_H

#include <sys/syscall.h>

#if defined(__x86_64__)
/* The fifth and the sixth argument are 0: some calls refuse others. */
static inline long test_raw4(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = 0;
	register long r9 __asm__("r9") = 0;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static inline long test_raw4(long nr, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = 0;
	register long x5 __asm__("x5") = 0;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "the test harness knows the system call convention of x86-64 and aarch64 only"
#endif

#endif /* TESTS_HARNESS_RAW_H */
