/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/use_once_watch.h"

#include <errno.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "core/mm.h"
#include "os/callback.h"
#include "os/cancel.h"
#include "os/futex.h"
#include "source/check.h"
#include "source/confined.h"
#include "source/state.h"

/* The time between two looks, in ns: the least, also of looks for which there is a reason; and the most. */
#define LEAST_PAUSE 1000000L
#define MOST_PAUSE  256000000L

/* ---------------------------------------------------------------------------------------- what has changed */

/* Ascending pieces that do not overlap. */
struct pieces {
	const struct mrn_use_once_piece *at, *end;
};

/* The reasons at an address, from which on all addresses are asked in order. Lowers *next to where they may change. */
static uint64_t reasons_at(struct pieces *p, uintptr_t addr, uintptr_t *next)
{
	uintptr_t bound;

	while (p->at < p->end && p->at->end <= addr)
		p->at++;
	if (p->at == p->end)
		return 0;
	bound = p->at->start > addr ? p->at->start : p->at->end;
	*next = bound < *next ? bound : *next;
	return p->at->start > addr ? 0 : p->at->reasons;
}

#define CHANGES (4 * MRN_USE_ONCE_PIECES)

/* Where one differs from the other: pieces with the reasons that hold there now. Returns how many. */
static unsigned int compare(struct pieces was, struct pieces is,
			    struct mrn_use_once_piece change[CHANGES])
{
	unsigned int n = 0;
	uintptr_t next;

	for (uintptr_t addr = 0; addr < UINTPTR_MAX; addr = next) {
		uint64_t before, now;

		next = UINTPTR_MAX;
		before = reasons_at(&was, addr, &next);
		now = reasons_at(&is, addr, &next);
		if (before == now)
			continue;
		if (n && change[n - 1].end == addr && change[n - 1].reasons == now)
			change[n - 1].end = next;
		else
			change[n++] = (struct mrn_use_once_piece){addr, next, now};
	}
	return n;
}

/* ------------------------------------------------------------------------------------------------- telling */

/* False in a child that a callback has forked. */
static bool call(const struct mrn_source *s, struct mrn_once_watch *l,
		 const struct mrn_use_once_piece *change, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		struct mrn_calls calls = mrn_calls_begin();

		MRN_CALL(l->changed(l, change[i].start, change[i].end, change[i].reasons));
		mrn_calls_end(calls);
		if (mrn_mm_is_wiped(s->mm))
			return false;
	}
	return true;
}

/* The changes; all that there is now to whoever is new. */
static bool tell_each(struct mrn_source *s, const struct mrn_use_once_piece *now, unsigned int n,
		      const struct mrn_use_once_piece *change, unsigned int changes)
{
	bool is_here = true;

	/* As a thread of the program's, as long as it runs the program's code. */
	mrn_own_thread_leave();
	mrn_fence_full();
	mrn_own_thread_join();
	for (struct mrn_once_watch *l = s->once.first; l && is_here; l = l->next) {
		if (l->told || MRN_BROKEN(ONCE_NEWCOMER))
			is_here = call(s, l, change, changes);
		else
			is_here = call(s, l, now, n);
		l->told = 1;
	}
	if (is_here)
		mrn_own_thread_enter();
	return is_here;
}

static bool has_newcomer(const struct mrn_once_watching *w)
{
	for (const struct mrn_once_watch *l = w->first; l; l = l->next)
		if (!l->told)
			return true;
	return false;
}

/* Looks at the set, and tells the difference. False in a child that a callback has forked. */
static bool tell(struct mrn_source *s)
{
	struct mrn_use_once_piece now[MRN_USE_ONCE_PIECES], change[CHANGES];
	struct mrn_once_watching *w = &s->once;
	unsigned int n, changes;

	mrn_mutex_lock(&w->lock);
	n = mrn_use_once_pieces(&s->uffd.use_once, now);
	changes = compare((struct pieces){w->told, w->told + w->n}, (struct pieces){now, now + n},
			  change);
	if ((changes || has_newcomer(w)) && !tell_each(s, now, n, change, changes))
		return false;
	for (w->n = 0; w->n < n && !MRN_BROKEN(ONCE_TOLD); w->n++)
		w->told[w->n] = now[w->n];
	mrn_mutex_unlock(&w->lock);
	return true;
}

static bool any_by_anybody(const struct mrn_once_watching *w)
{
	for (unsigned int i = 0; i < w->n; i++)
		if (w->told[i].reasons & MRN_ONCE_BIT(MRN_ONCE_ZAPPED))
			return true;
	return false;
}

/* Until something is added, or it is time to look again. */
static void wait_for_work(struct mrn_source *s, uint32_t seen, long *pause)
{
	struct mrn_once_watching *w = &s->once;
	struct mrn_use_once *set = &s->uffd.use_once;
	struct mrn_obstacle obstacle;

	if (!w->n) {
		*pause = LEAST_PAUSE;
		MRN_HOOK(once_sleeps);
		mrn_futex_wait(&set->turns, seen, NULL);
	} else if (mrn_futex_wait_for(&set->turns, seen, *pause) == -ETIMEDOUT) {
		*pause = *pause < MOST_PAUSE ? *pause * 2 : MOST_PAUSE;
		if (any_by_anybody(w))
			mrn_use_once_look_now(set, &obstacle);
	} else {
		*pause = LEAST_PAUSE;
	}
	/* A program that frees all the time makes no more looks than this. */
	mrn_futex_wait_for(&w->over, 0, LEAST_PAUSE);
}

static void *teller(void *source)
{
	struct mrn_source *s = source;
	struct mrn_once_watching *w = &s->once;
	long pause = LEAST_PAUSE;

	mrn_own_thread_enter();
	mrn_sys2(SYS_prctl, PR_SET_NAME, (long)"mrn-use-once");
	__atomic_store_n(&w->teller_number, mrn_thread_self(), __ATOMIC_RELAXED);
	for (;;) {
		/* Before `over`: stop sets that, and then turns. So if this thread does not see that it is over, it is woken. */
		uint32_t seen = __atomic_load_n(&s->uffd.use_once.turns, __ATOMIC_ACQUIRE);

		if (__atomic_load_n(&w->over, __ATOMIC_ACQUIRE))
			break;
		MRN_HOOK(once_goes_on);
		if (MRN_BROKEN(ONCE_OVER))
			seen = __atomic_load_n(&s->uffd.use_once.turns, __ATOMIC_ACQUIRE);
		if (!tell(s))
			return NULL;
		wait_for_work(s, seen, &pause);
	}
	mrn_own_thread_leave();
	return NULL;
}

/* ------------------------------------------------------------------------------------------------ the list */

/* With `starting` held, and signals blocked, which the new thread inherits. */
static int start(struct mrn_source *s)
{
	struct mrn_once_watching *w = &s->once;
	int r;

	if (!mrn_confined_allows_threads())
		return -EPERM;
	w->n = 0;
	__atomic_store_n(&w->over, 0, __ATOMIC_RELAXED);
	mrn_use_once_watch(&s->uffd.use_once, true);
	r = -pthread_create(&w->teller, NULL, teller, s);
	if (r)
		mrn_use_once_watch(&s->uffd.use_once, false);
	return r;
}

static void stop(struct mrn_source *s)
{
	struct mrn_once_watching *w = &s->once;

	__atomic_store_n(&w->over, 1, __ATOMIC_RELEASE);
	mrn_futex_wake(&w->over, 1);
	mrn_use_once_wake(&s->uffd.use_once);
	pthread_join(w->teller, NULL);
	__atomic_store_n(&w->teller_number, 0, __ATOMIC_RELAXED);
	mrn_use_once_watch(&s->uffd.use_once, false);
}

static struct mrn_once_watch **find(struct mrn_once_watching *w, const struct mrn_once_watch *l)
{
	struct mrn_once_watch **at = &w->first;

	while (*at && *at != l)
		at = &(*at)->next;
	return at;
}

static int add(struct mrn_once_watching *w, struct mrn_once_watch *l)
{
	struct mrn_once_watch **at;
	int r = 0;

	mrn_mutex_lock(&w->lock);
	at = find(w, l);
	if (*at) {
		r = -EALREADY;
	} else {
		l->next = NULL;
		l->told = 0;
		*at = l;
	}
	mrn_mutex_unlock(&w->lock);
	return r;
}

/* Waits for calls that are running. */
static int take_out(struct mrn_once_watching *w, const struct mrn_once_watch *l)
{
	struct mrn_once_watch **at;
	int r = 0;

	if (!MRN_BROKEN(ONCE_UNWATCH))
		mrn_mutex_lock(&w->lock);
	at = find(w, l);
	if (*at)
		*at = l->next;
	else
		r = -ENOENT;
	if (!MRN_BROKEN(ONCE_UNWATCH))
		mrn_mutex_unlock(&w->lock);
	return r;
}

/* Whether the list may be changed here: the teller holds it in a call, and would wait for itself. */
static int may_change(struct mrn_source *s)
{
	int r = mrn_source_may_wait(s);

	if (!r && __atomic_load_n(&s->once.teller_number, __ATOMIC_RELAXED) == mrn_thread_self())
		r = -EDEADLK;
	return r;
}

int mrn_source_watch_once(struct mrn_source *s, struct mrn_once_watch *l)
{
	int r = l && l->changed ? may_change(s) : -EINVAL, cancel;
	mrn_sigmask mask;
	bool is_first;

	if (r)
		return r;
	cancel = mrn_cancel_hold();
	mask = mrn_mutex_lock_masked(&s->once.starting);
	is_first = !s->once.first;
	r = add(&s->once, l);
	if (!r && is_first) {
		r = start(s);
		if (r)
			take_out(&s->once, l);
	}
	if (!r)
		mrn_use_once_wake(&s->uffd.use_once);
	mrn_mutex_unlock_masked(&s->once.starting, mask);
	mrn_cancel_restore(cancel);
	return r;
}

int mrn_source_unwatch_once(struct mrn_source *s, struct mrn_once_watch *l)
{
	int r = l ? may_change(s) : -EINVAL, cancel;
	mrn_sigmask mask;

	if (r)
		return r;
	cancel = mrn_cancel_hold();
	mask = mrn_mutex_lock_masked(&s->once.starting);
	r = take_out(&s->once, l);
	if (!r && !s->once.first)
		stop(s);
	mrn_mutex_unlock_masked(&s->once.starting, mask);
	mrn_cancel_restore(cancel);
	return r;
}
