/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/observe.h"

#include "os/syscall.h"

#include "os/event_path.h"

const struct mrn_observer *mrn_observer;

void mrn_observe(const struct mrn_observer *observer)
{
	__atomic_store_n(&mrn_observer, observer, __ATOMIC_RELEASE);
}

void mrn_observer_doubts(const struct mmu_notifier_range *token)
{
	const struct mrn_observer *o = __atomic_load_n(&mrn_observer, __ATOMIC_ACQUIRE);

	if (o && o->doubts)
		o->doubts(token);
}

long mrn_observed_call(long nr, const long a[6])
{
	return mrn_sys6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}
