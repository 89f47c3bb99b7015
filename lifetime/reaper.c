/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reaper: the library's thread that runs free functions. It blocks all signals, holds no lock of a consumer, and
 * exists only while needed: from the first mrn_reaper_need, or from the first call that may start a thread and finds an
 * item queued, until a second has passed with neither.
 *
 * While it sleeps it is one of the library's own threads; while it runs a free function, which may change memory, it is
 * an ordinary thread, which a source has to watch.
 *
 * To end, it announces that (reaper = 0; full fence) and then checks that there is nothing to do; a thread that queues
 * work (full fence) then checks whether the reaper is running. One of the two sees the other.
 */
#include "lifetime/reaper.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <time.h>

#include "lifetime/deferred.h"
#include "os/atomic.h"
#include "os/cancel.h"
#include "os/thread.h"

#define LINGER_S 1

static bool is_needed(void)
{
	return __atomic_load_n(&mrn_queue->needed, __ATOMIC_ACQUIRE) ||
	       __atomic_load_n(&mrn_queue->top, __ATOMIC_ACQUIRE);
}

static bool take_office(void)
{
	uint32_t none = 0;

	return __atomic_compare_exchange_n(&mrn_queue->reaper, &none, 1, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_RELAXED);
}

static bool may_leave(void)
{
	if (is_needed())
		return false;
	__atomic_store_n(&mrn_queue->reaper, 0, __ATOMIC_SEQ_CST);
	mrn_fence_full();
	return !is_needed() || !take_office();
}

/* False if it has waited long enough. */
static bool wait_for_work(uint32_t kicks)
{
	struct timespec until;
	bool needed = is_needed();

	mrn_sys2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&until);
	until.tv_sec += LINGER_S;
	return mrn_futex_wait(&mrn_queue->kicks, kicks, needed ? NULL : &until) != -ETIMEDOUT;
}

static void reap(void)
{
	mrn_own_thread_leave();
	/* Before the check for a source to join; pairs with that source's search for own threads. */
	mrn_fence_full();
	mrn_own_thread_join();
	while (mrn_deferred_reap())
		;
	mrn_own_thread_enter();
}

static void *reaper(void *unused)
{
	uint32_t kicks;

	mrn_own_thread_enter();
	mrn_sys2(SYS_prctl, PR_SET_NAME, (long)"mrn-reaper");
	do {
		kicks = __atomic_load_n(&mrn_queue->kicks, __ATOMIC_ACQUIRE);
		if (__atomic_load_n(&mrn_queue->top, __ATOMIC_ACQUIRE))
			reap();
	} while (wait_for_work(kicks) || !may_leave());
	mrn_own_thread_leave();
	return unused;
}

void mrn_reaper_start(void)
{
	mrn_sigmask mask;
	pthread_t t;
	int cancel;

	if (__atomic_load_n(&mrn_queue->reaper, __ATOMIC_SEQ_CST) || !take_office())
		return;
	cancel = mrn_cancel_hold();
	mask = mrn_signals_block();
	if (pthread_create(&t, NULL, reaper, NULL))
		/* Queued items stay, for the next call that tries, or for synchronize. */
		__atomic_store_n(&mrn_queue->reaper, 0, __ATOMIC_SEQ_CST);
	else
		pthread_detach(t);
	mrn_signals_restore(mask);
	mrn_cancel_restore(cancel);
}

void mrn_reaper_help(void)
{
	if (__builtin_expect(!!__atomic_load_n(&mrn_queue->top, __ATOMIC_RELAXED), 0))
		mrn_reaper_start();
}
