/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The classic notifiers: a list in the order of registration, called for every invalidation.
 *
 * Pairing. Each notifier has the number that it drew under the lock when it was linked (born). A token's start calls
 * those with born <= limit, the last number drawn when its walk began, and stores in range->told up to which born it
 * has called all: limit after a whole walk, that of the last one before a refusal, 0 if it took the list for empty and
 * did not walk. Its end calls those with born <= told: exactly the same, less those unregistered since.
 *
 * A notifier with born <= limit was linked under the same lock under which it drew that number, so start finds it once
 * it takes the lock. But start first checks the list without the lock, and the notifier may be linked just after: then
 * start calls nothing, and end must not use the numbers. Registering waits for the tokens in progress, so no token
 * misses a notifier that is in use.
 *
 * Release. A driver may take its shadow down in release and nowhere else. So until release has returned the notifier
 * stays in the list and is told of invalidations (A1), and the mm does not end. Unregister and the mm's end may both want to
 * call release: one does, and the other waits for it (mn->released).
 */
#include <errno.h>
#include <limits.h>
#include <stddef.h>

#include "core/check.h"
#include "core/misuse.h"
#include "core/mm.h"
#include "lifetime/deferred.h"
#include "lifetime/pin.h"
#include "lifetime/reaper.h"
#include "os/atomic.h"
#include "os/callback.h"
#include "os/container_of.h"
#include "os/futex.h"

#include "os/event_path.h"

/* Pins and returns the first notifier born after `after` and not after `limit`, or NULL. */
static struct mmu_notifier *pin_next(struct mrn_mm *mm, uint64_t after, uint64_t limit)
{
	struct mmu_notifier *mn;

	mrn_read_lock(&mm->lock);
	for (mn = mm->list; mn; mn = mn->next) {
		mrn_check_is_there(mm, &mn->mm, &mn->pins);
		if (mn->born > after && mn->born <= limit && mrn_pin(&mn->pins))
			break;
	}
	mrn_read_unlock(&mm->lock);
	return mn;
}

int mrn_list_start(struct mrn_mm *mm, struct mmu_notifier_range *range, uint64_t limit)
{
	struct mmu_notifier *mn;
	struct mrn_calls calls = mrn_calls_begin();
	bool refused = false;
	uint64_t cursor = 0;

	while ((mn = pin_next(mm, cursor, limit))) {
		int r = 0;

		if (mn->ops->invalidate_range_start) {
			MRN_CALLBACK(r = mn->ops->invalidate_range_start(mn, range));
			mrn_check_started(r, range);
		}
		/* A6: end calls exactly the notifiers that start called before the refusing one. */
		refused = r && !mmu_notifier_range_blockable(range);
		if (!refused)
			cursor = mn->born;
		mrn_unpin(&mm->home, &mn->pins);
		if (refused)
			break;
	}
	range->told = refused ? cursor : limit;
	mrn_calls_end(calls);
	return refused ? -EAGAIN : 0;
}

void mrn_list_end(struct mrn_mm *mm, struct mmu_notifier_range *range)
{
	struct mmu_notifier *mn;
	struct mrn_calls calls = mrn_calls_begin();
	uint64_t cursor = 0;

	while ((mn = pin_next(mm, cursor, range->told))) {
		cursor = mn->born;
		if (mn->ops->invalidate_range_end) {
			MRN_CALLBACK(mn->ops->invalidate_range_end(mn, range));
		}
		mrn_unpin(&mm->home, &mn->pins);
	}
	mrn_calls_end(calls);
}

/* mmu_notifier.released, a futex. */
enum { NOT_RELEASED, RELEASING, RELEASED };

/* When it returns, release has returned, in this thread or in another. The caller has pinned mn. */
static void release_once(struct mmu_notifier *mn, struct mrn_mm *mm)
{
	uint32_t was = NOT_RELEASED;
	struct mrn_calls calls;

	if (__atomic_compare_exchange_n(&mn->released, &was, RELEASING, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE)) {
		if (mn->ops->release) {
			calls = mrn_calls_begin();
			MRN_CALLBACK(mn->ops->release(mn, mm));
			mrn_calls_end(calls);
		}
		__atomic_store_n(&mn->released, RELEASED, __ATOMIC_RELEASE);
		mrn_futex_wake(&mn->released, INT_MAX);
		return;
	}
	while (was == RELEASING && !MRN_BROKEN(A1_OTHERS_RELEASE)) {
		mrn_futex_wait(&mn->released, RELEASING, NULL);
		was = __atomic_load_n(&mn->released, __ATOMIC_ACQUIRE);
	}
}

void mrn_list_release(struct mrn_mm *mm)
{
	struct mmu_notifier *mn;
	uint64_t cursor = 0;

	while ((mn = pin_next(mm, cursor, UINT64_MAX))) {
		cursor = mn->born;
		release_once(mn, mm);
		mrn_unpin(&mm->home, &mn->pins);
	}
}

static int may_change(struct mrn_mm *mm)
{
	if (mrn_mm_is_wiped(mm))
		return -ESTALE;
	return mrn_callback_depth ? -EDEADLK : 0;
}

/* With the lock held for writing. The list takes over the reference on mm. */
static int link_notifier(struct mmu_notifier *mn, struct mrn_mm *mm, uint32_t users)
{
	struct mmu_notifier **end = &mm->list;

	if (mm->ending)
		return -ESRCH;
	while (*end)
		end = &(*end)->next;
	__atomic_store_n(&mn->mm, mm, __ATOMIC_RELAXED);
	mn->next = NULL;
	mn->users = users;
	mn->released = NOT_RELEASED;
	mn->born = mrn_mm_draw(mm);
	mrn_pin_insert(&mn->pins);
	MRN_HOOK(link);
	__atomic_store_n(end, mn, __ATOMIC_RELEASE);
	mrn_mm_get(mm);
	return 0;
}

static void unlink_notifier(struct mmu_notifier *mn, struct mrn_mm *mm)
{
	struct mmu_notifier **link = &mm->list;
	mrn_sigmask mask = mrn_write_lock(&mm->lock);

	while (*link != mn)
		link = &(*link)->next;
	__atomic_store_n(link, mn->next, __ATOMIC_RELAXED);
	mrn_write_unlock(&mm->lock, mask);
}

/* Nobody calls back any more: the memory goes back to its owner. */
static void retire(struct mmu_notifier *mn)
{
	__atomic_store_n(&mn->mm, NULL, __ATOMIC_RELAXED);
	mrn_pin_retire(&mn->pins);
}

/*
 * A3 for list notifiers: link, full fence, look at the tokens; a start publishes its token, full fence, reads the
 * counter and walks. Either the walk finds the notifier, or this thread finds the token and waits for its end.
 */
static int wait_for_tokens(struct mrn_mm *mm)
{
	mrn_fence_full();
	return mrn_tokens_wait(mm, 0, UINTPTR_MAX, NULL);
}

int mmu_notifier_register(struct mmu_notifier *mn, struct mrn_mm *mm)
{
	mrn_sigmask mask;
	int r;

	if (!mn || !mn->ops || !mm)
		return -EINVAL;
	r = may_change(mm);
	if (r)
		return r;
	mrn_lock_order_might(mm, "mmu_notifier_register", __builtin_return_address(0));
	r = mrn_pin_claim(&mn->pins);
	if (r)
		return r;
	mask = mrn_write_lock(&mm->lock);
	r = link_notifier(mn, mm, 0);
	mrn_write_unlock(&mm->lock, mask);
	if (r) {
		mrn_pin_retire(&mn->pins);
		return r;
	}
	mrn_reaper_help();
	r = wait_for_tokens(mm);
	if (r) {
		/* Not registered after all: do not call release. */
		mn->released = RELEASED;
		mmu_notifier_unregister(mn, mm);
	}
	return r;
}

/* Under mm's lock: true if mn is in mm's list. */
static bool is_linked(const struct mmu_notifier *mn, const struct mrn_mm *mm)
{
	const struct mmu_notifier *other = mm->list;

	while (other && other != mn)
		other = other->next;
	return other;
}

/* 0: mn is pinned, and mm has a reference more; the list still has mn. */
static int begin_unregistering(struct mmu_notifier *mn, struct mrn_mm *mm)
{
	mrn_sigmask mask;
	int r;

	if (mrn_pin_look(&mn->pins) == -ESTALE) {
		if (__atomic_load_n(&mn->mm, __ATOMIC_RELAXED) != mm)
			return -ENOENT;
		r = mrn_pin_begin_removal(&mn->pins);
		if (r == -ESTALE)
			retire(mn);
		return r;
	}
	mask = mrn_write_lock(&mm->lock);
	if (!is_linked(mn, mm) || mrn_pin_look(&mn->pins))
		r = -ENOENT;
	else if (__atomic_load_n(&mn->users, __ATOMIC_RELAXED))
		r = -EINVAL;
	else if (mrn_callback_depth)
		r = -EDEADLK;
	else
		r = mrn_pin(&mn->pins) ? 0 : -ENOENT;
	if (!r)
		mrn_mm_get(mm);
	mrn_write_unlock(&mm->lock, mask);
	return r;
}

/* 0 for one of several threads that unregister mn. Afterwards the others must not touch it. */
static int take_out(struct mmu_notifier *mn, struct mrn_mm *mm)
{
	int r;

	if (MRN_BROKEN(A1_RELEASE)) {
		r = mrn_pin_begin_removal(&mn->pins);
		release_once(mn, mm);
	} else {
		release_once(mn, mm);
		r = mrn_pin_begin_removal(&mn->pins);
	}
	mrn_unpin(&mm->home, &mn->pins);
	return r;
}

int mmu_notifier_unregister(struct mmu_notifier *mn, struct mrn_mm *mm)
{
	int r;

	if (!mn || !mm)
		return -EINVAL;
	r = begin_unregistering(mn, mm);
	if (r)
		return r;
	r = take_out(mn, mm);
	if (!r) {
		unlink_notifier(mn, mm);
		mrn_pin_wait_idle(&mm->home, &mn->pins);
		retire(mn);
		mrn_mm_put(mm);
	}
	mrn_mm_put(mm);
	mrn_reaper_help();
	return r;
}

/* ------------------------------------------------------------------------------------ get and put */

/* With the lock held for writing: the notifier with these ops that still has users, with one more; or NULL. */
static struct mmu_notifier *find_user(struct mrn_mm *mm, const struct mmu_notifier_ops *ops)
{
	for (struct mmu_notifier *mn = mm->list; mn; mn = mn->next) {
		uint32_t users = __atomic_load_n(&mn->users, __ATOMIC_RELAXED);

		if (mn->ops != ops)
			continue;
		/* The last put may come at any moment, and is final. */
		while (users && !__atomic_compare_exchange_n(&mn->users, &users, users + 1, true,
							     __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			;
		if (users)
			return mn;
	}
	return NULL;
}

int mmu_notifier_get(const struct mmu_notifier_ops *ops, struct mrn_mm *mm,
		     struct mmu_notifier **out)
{
	struct mmu_notifier *mn, *fresh = NULL;
	mrn_sigmask mask;
	int r;

	if (!ops || !mm || !out || !ops->alloc_notifier || !ops->free_notifier)
		return -EINVAL;
	r = may_change(mm);
	if (r)
		return r;
	mrn_lock_order_might(mm, "mmu_notifier_get", __builtin_return_address(0));

	mask = mrn_write_lock(&mm->lock);
	mn = mm->ending ? NULL : find_user(mm, ops);
	r = mm->ending ? -ESRCH : 0;
	mrn_write_unlock(&mm->lock, mask);
	if (!mn && !r) {
		struct mrn_calls calls = mrn_calls_begin();

		MRN_CALL(fresh = ops->alloc_notifier(mm));
		mrn_calls_end(calls);
		if (!fresh)
			return -ENOMEM;
		if (mrn_sys_failed((long)fresh))
			return (int)(long)fresh;
		fresh->ops = ops;
		/* Another thread may have been faster while no lock was held. */
		mask = mrn_write_lock(&mm->lock);
		mn = mm->ending ? NULL : find_user(mm, ops);
		if (!mn)
			r = link_notifier(fresh, mm, 1);
		if (!mn && !r)
			mrn_reaper_need();
		mrn_write_unlock(&mm->lock, mask);
		if (mn || r) {
			calls = mrn_calls_begin();
			MRN_CALL(ops->free_notifier(fresh));
			mrn_calls_end(calls);
		} else {
			mn = fresh;
			/* Here a thread may be created; where the last reference is dropped, perhaps not. */
			mrn_reaper_start();
		}
	}
	if (r)
		return r;
	/* Also if another thread's notifier was found: that thread may still be waiting. */
	r = wait_for_tokens(mm);
	if (r) {
		mmu_notifier_put(mn);
		return r;
	}
	*out = mn;
	return 0;
}

static void finish_put(struct mrn_deferred *d)
{
	struct mmu_notifier *mn = container_of(d, struct mmu_notifier, deferred);
	struct mrn_mm *mm = container_of(d->home, struct mrn_mm, home);

	unlink_notifier(mn, mm);
	mrn_pin_wait_idle(&mm->home, &mn->pins);
	retire(mn);
	MRN_CALL(mn->ops->free_notifier(mn));
	mrn_reaper_unneed();
	mrn_mm_put(mm);
}

int mmu_notifier_put(struct mmu_notifier *mn)
{
	struct mrn_mm *mm;
	uint32_t users;
	int r;

	if (!mn)
		return -EINVAL;
	r = mrn_pin_look(&mn->pins);
	if (r)
		return r == -ESTALE ? r : -EINVAL;
	users = __atomic_load_n(&mn->users, __ATOMIC_RELAXED);
	do {
		MRN_MISUSE_IF(!users, "mmu_notifier_put",
			      "was called without a reference of mmu_notifier_get");
		if (!users)
			return -EINVAL;
	} while (!__atomic_compare_exchange_n(&mn->users, &users, users - 1, true, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	if (users > 1)
		return 0;
	mm = mn->mm;
	mrn_pin_begin_removal(&mn->pins);
	mrn_deferred_push(&mm->home, &mn->deferred, &mn->pins, finish_put);
	return 0;
}

int mmu_notifier_synchronize(struct mrn_mm *mm)
{
	int r;

	if (!mm)
		return -EINVAL;
	r = may_change(mm);
	if (r)
		return r;
	if (mrn_deferred_running())
		return -EDEADLK;
	mrn_deferred_drain(&mm->home);
	return 0;
}
