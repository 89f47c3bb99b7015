/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Deferred freeing: what was removed inside a callback, where nothing may wait or free, is finished
 * by the next caller who may. No thread of ours, and no state but links in the objects themselves.
 */
#include "core/callback.h"
#include "core/mm.h"

#include "os/event_path.h"

static MRN_TLS unsigned int draining;

bool mrn_deferred_running(void)
{
	return draining;
}

void mrn_deferred_push(struct mrn_mm *mm, struct mrn_deferred *d)
{
	struct mrn_deferred *top = __atomic_load_n(&mm->deferred, __ATOMIC_RELAXED);

	/* Only whole stacks are taken, so a push has no ABA to fear. */
	do {
		d->next = top;
	} while (!__atomic_compare_exchange_n(&mm->deferred, &top, d, true, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
}

void mrn_deferred_run(struct mrn_mm *mm, bool wait)
{
	struct mrn_deferred *d, *next;
	struct mrn_calls calls;

	if (draining)
		return;
	if (wait)
		mrn_mutex_lock(&mm->drain_lock);
	else if (!mrn_mutex_trylock(&mm->drain_lock))
		return;
	calls = mrn_calls_begin();
	draining++;
	mrn_mm_get(mm);
	for (d = __atomic_exchange_n(&mm->deferred, NULL, __ATOMIC_ACQUIRE); d; d = next) {
		next = d->next;
		if (!d->run(d, wait))
			mrn_deferred_push(mm, d);
	}
	draining--;
	mrn_mutex_unlock(&mm->drain_lock);
	mrn_mm_put(mm);
	mrn_calls_end(calls);
}
