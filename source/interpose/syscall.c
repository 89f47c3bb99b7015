/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * syscall(): the same brackets, by number; and notes when the program forbids itself system calls.
 *
 * On x86-64 syscall itself is the stub in syscall-x86_64.S, which jumps to libc's for every number that is not
 * bracketed, before any frame exists: SYS_vfork, and SYS_clone with CLONE_VM on the caller's stack, return twice. The
 * child would return through a frame of ours, and the parent would find it gone. (A child with memory of its own has a
 * copy of the frame.) Elsewhere syscall is the function below; do not use it with those numbers. libc's own syscall
 * makes no promise for them either.
 */
#undef _FILE_OFFSET_BITS

#include <stdarg.h>
#include <unistd.h>

#include "os/syscall.h"
#include "source/bracket/calls.h"
#include "source/confined.h"
#include "source/interpose/copy.h"
#include "source/interpose/real.h"
#include "source/interpose/wrapper.h"

#include "os/event_path.h"

static long real(long nr, long a, long b, long c, long d, long e, long f)
{
	return __atomic_load_n(&mrn_real_syscall, __ATOMIC_RELAXED)(nr, a, b, c, d, e, f);
}

/* For the stub. */
long mrn_syscall_bracketed(long nr, long a, long b, long c, long d, long e, long f);

long mrn_syscall_bracketed(long nr, long a, long b, long c, long d, long e, long f)
{
	const long came[6] = {a, b, c, d, e, f};
	const struct mrn_call call = mrn_call_read(nr, came);

	mrn_confine_by_name(&call);
	if (mrn_call_copies(call.nr, call.a[0]))
		return mrn_copy_by_number(nr, a, b, c, d, e, f);
	return mrn_bracket_number(real, &call, nr, came);
}

#ifndef __x86_64__
MRN_INTERPOSED long syscall(long nr, ...)
{
	long a, b, c, d, e, f;
	va_list ap;

	va_start(ap, nr);
	a = va_arg(ap, long);
	b = va_arg(ap, long);
	c = va_arg(ap, long);
	d = va_arg(ap, long);
	e = va_arg(ap, long);
	f = va_arg(ap, long);
	va_end(ap);
	return mrn_syscall_bracketed(nr, a, b, c, d, e, f);
}
#endif
