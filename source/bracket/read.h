/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A system call as the kernel reads it. The registers have 64 bits; of the number, of an int and of a descriptor it looks at
 * 32, and whatever is above may be left over from something else. So whoever asks what a call is looks at this; whoever makes
 * it makes it as it came, which is what the program's own sandbox and tracer expect.
 */
#ifndef MRN_SOURCE_BRACKET_READ_H
#define MRN_SOURCE_BRACKET_READ_H

#include <stdbool.h>

struct mrn_call {
	long nr; /* below 0: none that is known here */
	long a[6];
	bool compat; /* what it points to is in the form of a 32-bit program */
};

/*
 * x32's calls are those of x86-64 with this bit in the number. Some have numbers of their own. A kernel without x32, as most are,
 * refuses them all, and then they have been announced for nothing.
 */
#define MRN_X32_BIT 0x40000000

/* a: six, as they came. */
struct mrn_call mrn_call_read(long nr, const long *a);

#endif
