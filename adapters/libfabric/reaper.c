/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread that makes libfabric forget what has changed, and that keeps an eighth of the table free. It calls libfabric,
 * which no callback may do.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

#include "adapters/libfabric/check.h"
#include "adapters/libfabric/table.h"

static bool has_changed(struct watch *w)
{
	return watch_state(w) == WATCH_LIVE && mrn_fabric_has_changed(w);
}

static bool is_idle(struct watch *w)
{
	return watch_state(w) == WATCH_LIVE || watch_state(w) == WATCH_COLD;
}

/* Drops w if it is still as the caller has found it without the lock. */
static bool drop_if(struct watch *w, bool (*is_so)(struct watch *w))
{
	bool mine;

	pthread_mutex_lock(&mrn_fabric.lock);
	mine = is_so(w);
	if (mine)
		watch_set(w, WATCH_BUSY);
	pthread_mutex_unlock(&mrn_fabric.lock);
	if (mine)
		mrn_fabric_drop(w);
	return mine;
}

static unsigned int fresh(void)
{
	return __atomic_load_n(&mrn_fabric.fresh, __ATOMIC_ACQUIRE);
}

static void drop_changed(void)
{
	struct watch *pool = mrn_fabric.pool;

	if (MRN_BROKEN(FABRIC_REAPER))
		return;
	for (unsigned int i = 0, n = fresh(); i < n; i++)
		if (has_changed(&pool[i]))
			drop_if(&pool[i], has_changed);
}

/* The one that was found valid least recently, or NULL. */
static struct watch *oldest(void)
{
	const uint32_t now = (uint32_t)__atomic_load_n(&mrn_fabric.stats.found, __ATOMIC_RELAXED);
	struct watch *pool = mrn_fabric.pool, *found = NULL;
	int32_t age, found_age = 0;

	for (unsigned int i = 0, n = fresh(); i < n; i++) {
		if (!is_idle(&pool[i]))
			continue;
		/* Less than 0 if it has been found since. */
		age = (int32_t)(now - __atomic_load_n(&pool[i].used, __ATOMIC_RELAXED));
		if (!found || age > found_age) {
			found = &pool[i];
			found_age = age;
		}
	}
	return found;
}

static void make_room(void)
{
	struct watch *w;

	if (MRN_BROKEN(FABRIC_BOUND))
		return;
	while (__atomic_load_n(&mrn_fabric.nr_free, __ATOMIC_RELAXED) <= mrn_fabric.nr / 8 &&
	       (w = oldest()))
		drop_if(w, is_idle);
}

static void *reap(void *arg)
{
	for (;;) {
		/* Acquire pairs with mrn_fabric_ring. */
		while (!__atomic_exchange_n(&mrn_fabric.bell, 0, __ATOMIC_ACQUIRE))
			mrn_source_bypass(SYS_futex, (long)&mrn_fabric.bell, FUTEX_WAIT_PRIVATE, 0,
					  0, 0, 0);
		drop_changed();
		make_room();
	}
	return arg;
}

int mrn_fabric_reaper_start(void)
{
	static bool started;
	sigset_t all, old;
	pthread_t thread;
	int r;

	/* An install that has failed afterwards has left it. */
	if (started)
		return 0;
	/* SIGSYS is how dispatch catches calls. */
	sigfillset(&all);
	sigdelset(&all, SIGSYS);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&thread, NULL, reap, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r)
		return -r;
	pthread_setname_np(thread, "mrn-libfabric");
	pthread_detach(thread);
	started = true;
	return 0;
}
