/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes this library's own system calls through libmrn, where dispatch lets them pass: they must not be taken for the
 * program's, and some are made inside a caught call. Replaces the copy in os/syscall-x86_64.S, which is at an address
 * that dispatch catches.
 */
#include <mrn/source.h>

#include "os/syscall.h"

#include "os/event_path.h"

#ifdef __x86_64__
long mrn_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	return mrn_source_bypass(nr, a, b, c, d, e, f);
}
#endif
