/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/bracket/read.h"

#include <stdint.h>
#include <sys/syscall.h>

#include "os/event_path.h"

/* Sets of arguments, from 0 on: INT, and UNSIGNED, also where the kernel converts to unsigned int later. */
#define INT(n)	    (1u << (n))
#define UNSIGNED(n) (1u << ((n) + 6))

/*
 * Those of a call that are narrower than a register. All others are as wide as one: addresses, sizes, offsets, mmap's and
 * mremap's flags, protections, ptrace's request.
 */
static unsigned int narrow_arguments(long nr)
{
	switch (nr) {
#define CALL(name, i386, narrow) \
	case SYS_##name:         \
		return narrow;
#include "source/bracket/calls.def"
	default:
		return 0;
	}
}

#ifdef __x86_64__
static long of_x32(int nr)
{
	switch (nr) {
		/* x32 does not have x86-64's number. */
#define X32(name, number)          \
	case number:               \
		return SYS_##name; \
	case SYS_##name:           \
		return -1;
#include "source/bracket/calls.def"
	default:
		return nr < 512 ? nr : -1;
	}
}
#endif

struct mrn_call mrn_call_read(long nr, const long *a)
{
	struct mrn_call call = {.nr = (int)nr};
	unsigned int narrow;

#ifdef __x86_64__
	if ((int)nr >= MRN_X32_BIT) {
		call.nr = of_x32((int)nr - MRN_X32_BIT);
		call.compat = true;
	}
#endif
	narrow = narrow_arguments(call.nr);
	for (unsigned int i = 0; i < 6; i++)
		call.a[i] = narrow & INT(i)	   ? (int32_t)a[i]
			    : narrow & UNSIGNED(i) ? (long)(uint32_t)a[i]
						   : a[i];
	return call;
}
