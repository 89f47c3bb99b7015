/* SPDX-License-Identifier: BSD-3-Clause */
/* A way past the sources: the kernel does not catch calls from this library's own section; see os/syscall-x86_64.S. */
#include <mrn/source.h>

#include "os/syscall.h"

#include "os/event_path.h"

long mrn_source_bypass(long nr, long a, long b, long c, long d, long e, long f)
{
	return mrn_own6(nr, a, b, c, d, e, f);
}
