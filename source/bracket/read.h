/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A system call as the kernel reads it. Registers have 64 bits; of the number, an int and a descriptor the kernel reads
 * 32, and the upper half may hold anything. So decide by this, but make the call with the registers as they came: the
 * program's own sandbox and tracer expect that.
 */
#ifndef MRN_SOURCE_BRACKET_READ_H
#define MRN_SOURCE_BRACKET_READ_H

#include <stdbool.h>

struct mrn_call {
	long nr; /* below 0: no call that mrn knows */
	long a[6];
	bool compat; /* its pointers point to the 32-bit form of structures */
};

/*
 * x32's calls are those of x86-64 with this bit in the number; some have numbers of their own. Most kernels lack x32
 * and refuse them all; then they were announced for nothing.
 */
#define MRN_X32_BIT 0x40000000

/* a: six arguments, as they came. */
struct mrn_call mrn_call_read(long nr, const long *a);

#endif
