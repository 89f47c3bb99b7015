/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Deferred freeing: a removal where nothing may wait or free is queued, and finished by a thread that holds no lock of
 * a consumer: the reaper (reaper.c), or a caller of drain or end on that home. No other call runs a free function: its
 * caller may hold a lock that the function takes.
 *
 * The process has one stack, of items that name their home. A push is lock-free, and callable anywhere; items are taken
 * under `taking`, with signals blocked, by taking all and pushing back unwanted ones. A thread that runs items of a home
 * holds that home's drain_lock from before it takes them until it has run them: so drain, which waits for that lock,
 * has waited for everything queued before. The reaper only tries the lock, and never waits for a callback.
 *
 * No item is forgotten: each event that may make one ready (its push, the last unpin of its notifier, a drain_lock that
 * is free again) is followed by a kick, and the reaper reads the number of kicks before it reads the queue.
 */
#include "lifetime/deferred.h"

#include <stddef.h>

#include "lifetime/pin.h"
#include "lifetime/queue.h"
#include "os/atomic.h"
#include "os/callback.h"
#include "os/generation.h"
#include "os/pages.h"

#include "os/event_path.h"

struct mrn_queue *mrn_queue;

int mrn_deferred_init(void)
{
	int r = mrn_generation_init();

	return r ? r : MRN_PAGES_ONCE(mrn_queue);
}

static MRN_TLS unsigned int draining;

bool mrn_deferred_running(void)
{
	return draining;
}

static void push(struct mrn_deferred *d)
{
	struct mrn_deferred *top = __atomic_load_n(&mrn_queue->top, __ATOMIC_RELAXED);

	/* Only whole stacks are taken, so there is no ABA. */
	do {
		d->next = top;
	} while (!__atomic_compare_exchange_n(&mrn_queue->top, &top, d, true, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
}

void mrn_deferred_kick(void)
{
	/*
	 * Orders an unpin, which makes an item ready, before the read of the queue; or a push before the reaper's read
	 * of the item's pins, which the kick causes. Of an unpin and a push, one sees the other.
	 */
	mrn_fence_full();
	if (!__atomic_load_n(&mrn_queue->top, __ATOMIC_RELAXED))
		return;
	__atomic_fetch_add(&mrn_queue->kicks, 1, __ATOMIC_SEQ_CST);
	mrn_futex_wake(&mrn_queue->kicks, 1);
}

/* Which items are taken: those of a home, or one; those whose notifier has no pins, or all. */
struct wanted {
	const struct mrn_home *home;
	const struct mrn_deferred *one;
	bool idle;
};

static bool is_wanted(const struct mrn_deferred *d, const struct wanted *w)
{
	if (w->one)
		return d == w->one;
	return d->home == w->home && (!w->idle || mrn_pin_is_idle(d->pins));
}

/* Under taking. The oldest first. */
static struct mrn_deferred *take_locked(const struct wanted *w)
{
	struct mrn_deferred *d, *next, *taken = NULL, *others = NULL;

	for (d = __atomic_exchange_n(&mrn_queue->top, NULL, __ATOMIC_ACQUIRE); d; d = next) {
		struct mrn_deferred **to = is_wanted(d, w) ? &taken : &others;

		next = d->next;
		d->next = *to;
		*to = d;
	}
	for (d = others; d; d = next) {
		next = d->next;
		push(d);
	}
	return taken;
}

static struct mrn_deferred *take(const struct wanted *w)
{
	mrn_sigmask mask = mrn_signals_block();
	struct mrn_deferred *d;

	mrn_mutex_lock(&mrn_queue->taking);
	d = take_locked(w);
	mrn_mutex_unlock(&mrn_queue->taking);
	mrn_signals_restore(mask);
	return d;
}

static void run(struct mrn_deferred *d)
{
	struct mrn_calls calls = mrn_calls_begin();
	struct mrn_deferred *next;

	draining++;
	for (; d; d = next) {
		next = d->next;
		mrn_pin_wait_idle(d->home, d->pins);
		d->finish(d);
	}
	draining--;
	mrn_calls_end(calls);
}

void mrn_deferred_push(struct mrn_home *home, struct mrn_deferred *d, uint64_t *pins,
		       void (*finish)(struct mrn_deferred *d))
{
	d->home = home;
	d->pins = pins;
	d->finish = finish;
	push(d);
	mrn_deferred_kick();
}

void mrn_deferred_run_if_ended(struct mrn_home *home, struct mrn_deferred *d)
{
	/* Pairs with mrn_deferred_end's fence: that finds the queued item, or this thread finds home ended. */
	mrn_fence_full();
	if (!__atomic_load_n(&home->ended, __ATOMIC_RELAXED))
		return;
	run(take(&(struct wanted){.one = d}));
	/* While all items were out of the queue, an unpin may have found nothing. */
	mrn_deferred_kick();
}

void mrn_deferred_drain(struct mrn_home *home)
{
	mrn_home_get(home);
	mrn_mutex_lock(&home->drain_lock);
	run(take(&(struct wanted){.home = home}));
	mrn_mutex_unlock(&home->drain_lock);
	mrn_home_put(home);
	mrn_deferred_kick();
}

void mrn_deferred_end(struct mrn_home *home)
{
	/* From here on a thread that queues an item also frees it; full fence: one of the two sees the other. */
	__atomic_store_n(&home->ended, true, __ATOMIC_RELAXED);
	mrn_fence_full();
	mrn_deferred_drain(home);
}

bool mrn_deferred_reap(void)
{
	mrn_sigmask mask = mrn_signals_block();
	struct mrn_deferred *d;
	struct mrn_home *home = NULL;

	/* Under taking, nothing leaves the queue, so no item's home is freed. */
	mrn_mutex_lock(&mrn_queue->taking);
	for (d = __atomic_load_n(&mrn_queue->top, __ATOMIC_ACQUIRE); d; d = d->next)
		if (mrn_pin_is_idle(d->pins) && mrn_mutex_trylock(&d->home->drain_lock))
			break;
	if (d) {
		home = d->home;
		mrn_home_get(home);
		d = take_locked(&(struct wanted){.home = home, .idle = true});
	}
	mrn_mutex_unlock(&mrn_queue->taking);
	mrn_signals_restore(mask);
	if (!home)
		return false;
	run(d);
	mrn_mutex_unlock(&home->drain_lock);
	mrn_home_put(home);
	return true;
}
