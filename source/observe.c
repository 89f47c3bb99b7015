/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/observe.h"

#include "os/syscall.h"

#include "os/event_path.h"

const struct mrn_observer *mrn_observer;

void mrn_observe(const struct mrn_observer *observer)
{
	__atomic_store_n(&mrn_observer, observer, __ATOMIC_RELEASE);
}

long mrn_observed_call(long nr, const long a[6])
{
	return mrn_sys6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}
