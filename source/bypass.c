/* SPDX-License-Identifier: BSD-3-Clause */
/* A way past the sources: the kernel does not catch calls from this library's own section; see os/syscall-x86_64.S. */
#include <mrn/source.h>

#include "os/syscall.h"
#include "source/check.h"
#include "source/observe.h"

#include "os/event_path.h"

/* Of a program that is checked, the observer sees these, too: an adapter registers memory by them. */
static __attribute__((noinline)) long make_observed(long nr, long a[6])
{
	const int saved = errno;
	long result;
	bool made = __atomic_load_n(&mrn_observer, __ATOMIC_ACQUIRE)->sees(nr, a, &result);

	errno = saved;
	return made ? result : mrn_own6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

long mrn_source_bypass(long nr, long a, long b, long c, long d, long e, long f)
{
	if (mrn_is_observed(nr) && !MRN_BROKEN(BYPASS_OBSERVED))
		return make_observed(nr, (long[6]){a, b, c, d, e, f});
	return mrn_own6(nr, a, b, c, d, e, f);
}
