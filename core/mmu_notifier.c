/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The protocol.
 *
 *	start(range)	publish the token; full fence; walk the index: before the first range notifier that
 *			overlaps the token's bit in state; each one's invalidate(mrn, range, seq), or, of those
 *			with two passes, first each one's invalidate_start and then each one's
 *			invalidate_finish; then each list notifier's invalidate_range_start
 *	invalidate	[consumer] driver lock; update_seq, a release store; tear down; unlock
 *	invalidate_start	the same, but may only begin to stop the device; hands out a finish then
 *	invalidate_finish	[consumer] wait for the device; tear down what the first pass has left
 *	end(range)	list notifiers' invalidate_range_end; withdraw the token, a release; wake
 *	read_begin(mrn)	seq = load-acquire mrn's; if anything is in progress: wait for each token that
 *			overlaps and started before; return seq
 *	read_retry	[consumer, driver lock held] mrn's seq differs
 *	insert(mrn)	a fresh seq; publish in the index; full fence; the first read looks at all slots
 *	remove(mrn)	unpublish; full fence; wait until no walk can still call back into mrn
 *
 * Guarantees. docs/protocol.md explains them; scripts/check-guarantees sees that it says the same.
 *  A1  Once start returns, every shadow of the range that was published before it is torn
 *      down, and none can be published from translations read before it.
 *  A2  A seq that read_begin returns belongs to no overlapping invalidation still in
 *      progress.
 *  A3  Of an insertion and a start that race, either the walk sees the new notifier, or the
 *      notifier's first read_begin sees the token. (Store, full fence, load on both sides.)
 *  A4  A reader that sees a seq stored by a callback also sees that callback's token or, if
 *      the token has ended, the new translations. (Release store of the seq and of the
 *      withdrawal, acquire loads of both.)
 *  A5  When remove returns, no callback into that notifier runs or will run.
 *  A6  A non-blocking start is one transaction over range notifiers and list notifiers: if
 *      one refuses, every first pass that has handed out a finish gets it, every list notifier
 *      that was started is ended, the token is withdrawn, waiters wake, and start returns
 *      -EAGAIN.
 *  P1  read_begin waits only for overlapping tokens that were in progress when it was called.
 *  P2  insert never waits for an invalidation; remove waits only for callbacks already
 *      running on its own notifier, for starts that owe it a finish, and for walks to leave
 *      the section of some hundred instructions that they are in.
 *  P3  read_begin and read_retry take no lock and write no shared memory when nothing
 *      overlaps and the slots suffice, except that the first read after an insertion notes in
 *      the notifier that it has been.
 *  P4  start and end never allocate, never touch stdio, preserve errno, nest in a thread, and
 *      run in parallel in many; a thread that would wait for its own token is told so.
 *  P5  A token is its caller's memory: once end returns, nobody looks at it again.
 *
 * Why two passes keep A1: start returns, and calls list notifiers, only when no finish is owed, so by then both passes
 * of each notifier have torn down what they have to. The first pass stores the seq under the driver lock, as invalidate
 * does: from then on nothing can be published from translations read before, whatever the device still does. The
 * token, and its bit in state, stay until end: so A2 and A4 hold from the first pass on. core/passes.h says why A5 and A6 do.
 *
 * Why a seq is never stored twice: every token and every insertion has its own number, unique in the process
 * (core/seq.h), and stores it once in each notifier. So "unchanged" means "no callback since, and not inserted anew",
 * in whatever order the callbacks of parallel invalidations get the driver lock.
 *
 * Why a walk may end: it calls only notifiers inserted before it began (id <= limit). A later one
 * drew its id after the walk had read the counter, with full fences between each side's store and
 * load: so its read_begin sees the token (A3), and inserts cannot keep a walk going for ever.
 */
#include <errno.h>
#include <stddef.h>

#include "core/check.h"
#include "core/misuse.h"
#include "core/passes.h"
#include "core/slot.h"
#include "lifetime/deferred.h"
#include "lifetime/pin.h"
#include "lifetime/reaper.h"
#include "os/atomic.h"
#include "os/callback.h"
#include "os/container_of.h"
#include "os/pages.h"
#include "os/probe.h"

#include "os/event_path.h"

const uint64_t mrn_state_absent = 0, mrn_state_unread = 0;

/* --------------------------------------------------------------------------------- start and end */

/* True of a notifier that is in mm's index, whatever is being done to it. */
static bool has_state_of(const struct mmu_range_notifier *mrn, const struct mrn_mm *mm)
{
	const uint64_t *state = __atomic_load_n(&mrn->mm_state, __ATOMIC_RELAXED);

	return state == &mrn_state_absent || state == &mrn_state_unread || state == &mm->state ||
	       mrn_has_watcher(mrn);
}

/* In a section: pins and returns the next range notifier to call, no younger than limit; or NULL. */
static struct mmu_range_notifier *pin_next(struct mrn_mm *mm, struct mrn_index_walk *walk,
					   uint64_t limit)
{
	struct mrn_index_entry *e;

	while ((e = mrn_index_walk_next(&mm->index, walk))) {
		struct mmu_range_notifier *mrn = container_of(e, struct mmu_range_notifier, node);

		MRN_HOOK(walk, e);
		mrn_check_is_there(mm, &mrn->mm, &mrn->pins);
		MRN_FREED_NOTIFIER(!has_state_of(mrn, mm));
		if (e->id <= limit && mrn_pin(&mrn->pins))
			return mrn;
	}
	return NULL;
}

static bool is_wanted(const struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range)
{
	return !mrn->events || range->event == MMU_NOTIFY_RELEASE ||
	       (mrn->events & (1u << range->event));
}

/* Calls mrn, which is pinned, unless it is not concerned. False if it refuses. */
static bool call(struct mrn_mm *mm, struct mmu_range_notifier *mrn,
		 const struct mmu_notifier_range *range, struct mrn_owed *owed)
{
	bool done;

	if (!is_wanted(mrn, range) || MRN_BROKEN(A1_CALLBACKS)) {
		mrn_unpin(&mm->home, &mrn->pins);
		return true;
	}
	done = mrn_first_pass(mm, mrn, range, owed);
	if (MRN_BROKEN(A1_PASSES))
		mrn_pay(owed, mm);
	if (MRN_BROKEN(A1_WATCHER) && owed->watched_end)
		mrn_tell_watcher(owed, mm, range);
	return done;
}

/* First passes: mrn's, which the walk found first, and then those of the rest. Called outside a section. */
static int call_each(struct mrn_mm *mm, struct mmu_notifier_range *range,
		     struct mmu_range_notifier *mrn, struct mrn_index_walk *walk, uint64_t limit,
		     struct mrn_owed *owed)
{
	mrn_token_raise(mm, range);
	while (call(mm, mrn, range, owed)) {
		if (mrn_index_walk_is_over(walk))
			return 0;
		mrn_section_enter(mm, range->slot);
		mrn = pin_next(mm, walk, limit);
		mrn_section_leave(mm, range->slot);
		if (!mrn)
			return 0;
	}
	return -EAGAIN;
}

/* Called in the walk's first section, which it ends. */
static int call_range_notifiers(struct mrn_mm *mm, struct mmu_notifier_range *range, uint64_t limit)
{
	struct mmu_range_notifier *mrn;
	struct mrn_index_walk walk;
	struct mrn_owed owed;

	struct mrn_calls calls;
	int r;

	mrn_index_prefetch_walk(&mm->index, range->start);
	mrn_index_walk_begin(&walk, range->start, range->end);
	mrn = pin_next(mm, &walk, limit);
	mrn_section_leave(mm, range->slot);
	if (!mrn)
		return 0;
	calls = mrn_calls_begin();
	mrn_owed_init(&owed);
	r = call_each(mm, range, mrn, &walk, limit, &owed);
	/* Also if one has refused (A6): what has begun must come to its end. */
	if (__builtin_expect(owed.first != NULL, 0) && !MRN_BROKEN(A1_FINISH) &&
	    !(MRN_BROKEN(A6_FINISH) && r))
		mrn_pay(&owed, mm);
	if (owed.watched_end && !MRN_BROKEN(A1_WATCHER))
		mrn_tell_watcher(&owed, mm, range);
	mrn_calls_end(calls);
	return r;
}

/*
 * If several threads end the same range, or copies of it, one succeeds. For a token that has met no notifier,
 * withdrawing it, by one compare-and-swap, decides; for others, mrn_token_begin_end does before anything else.
 */
static inline __attribute__((always_inline)) void end(struct mmu_notifier_range *range)
{
	struct mrn_mm *mm = range->mm;

	if ((range->raised || range->told) && !MRN_BROKEN(A4_EARLY_END) &&
	    !mrn_token_begin_end(mm, range))
		return;
	if (range->told && !(MRN_BROKEN(A6_END_LIST) && !mmu_notifier_range_blockable(range)))
		mrn_list_end(mm, range);
	if (!MRN_BROKEN(A4_EARLY_END))
		mrn_token_withdraw(mm, range);
	/* Only now: in the overflow list, other threads read it. */
	range->seq = 0;
}

/* The value of range->started between start's return and end: unlikely by accident, and not in a callback's copy. */
static uint64_t mark_of(const struct mmu_notifier_range *range)
{
	return ~range->seq;
}

/* Undoes a start that has been refused. */
static __attribute__((noinline, cold)) void undo(struct mmu_notifier_range *range)
{
	end(range);
}

static bool is_known(const struct mmu_notifier_range *range)
{
	return (unsigned int)range->event < MRN_NR_EVENTS &&
	       (unsigned int)range->cause < MRN_NR_CAUSES &&
	       !(range->flags &
		 ~(MMU_NOTIFIER_RANGE_BLOCKABLE | MRN_RANGE_AFTER | MRN_RANGE_PINS_STAY));
}

static int start(struct mmu_notifier_range *range, unsigned int blockable)
{
	struct mrn_mm *mm;
	uint64_t limit;
	int r = 0;

	if (!range || !range->mm || range->start >= range->end || !is_known(range))
		return -EINVAL;
	mm = range->mm;
	if (mrn_mm_is_wiped(mm))
		return -ESTALE;
	if (range->seq && mrn_token_is_in_progress(mm, range))
		return -EBUSY;
	MRN_EVENT_PATH_ENTER();
	range->flags = (range->flags & ~MMU_NOTIFIER_RANGE_BLOCKABLE) | blockable;
	range->started = 0;
	mrn_index_prefetch(&mm->index, range->start);
	mrn_check_index(mm, range->start, range->end);
	mrn_token_publish(mm, range);
	MRN_PROBE(start, range->start, range->end, range->event, range->cause);
	/*
	 * A3: the section's fence orders the token before the read of the counter and the walk; pairs with
	 * the fence in insert, which orders the notifier before the look at the tokens.
	 */
	mrn_section_enter(mm, range->slot);
	limit = __atomic_load_n(&mm->counter, __ATOMIC_ACQUIRE);
	if (mrn_index_may_overlap(&mm->index, range->start, range->end))
		r = call_range_notifiers(mm, range, limit);
	else
		mrn_section_leave(mm, range->slot);
	range->told = MRN_BROKEN(A6_TOLD) ? limit : 0;
	if (!r && mrn_list_is_used(mm))
		r = mrn_list_start(mm, range, limit);
	if (MRN_BROKEN(A4_EARLY_END))
		mrn_token_withdraw(mm, range);
	if (!r)
		range->started = mark_of(range);
	else if (!MRN_BROKEN(A6_TOKEN))
		undo(range);
	MRN_EVENT_PATH_LEAVE();
	return r;
}

int mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range)
{
	if (mrn_lock_order_is_on())
		mrn_lock_order_start(range, __builtin_return_address(0));
	return start(range, MMU_NOTIFIER_RANGE_BLOCKABLE);
}

int mmu_notifier_invalidate_range_start_nonblock(struct mmu_notifier_range *range)
{
	if (MRN_BROKEN(ORDER_WAITS))
		mrn_lock_order_start(range, __builtin_return_address(0));
	return start(range, 0);
}

void mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range)
{
	/* Without the mark, range->mm must not be read. A wiped mm: this process forked in between. */
	if (!range || !range->seq || range->started != mark_of(range) || mrn_mm_is_wiped(range->mm))
		return;
	MRN_EVENT_PATH_ENTER();
	MRN_PROBE(end, range->start, range->end, range->event, range->cause);
	end(range);
	MRN_EVENT_PATH_LEAVE();
}

/* --------------------------------------------------------------------------------------- reading */

/*
 * Lets the notifier's reads use the mm's state from now on; unless it has been removed, or inserted anew, during the
 * wait for the tokens, which says nothing about that insertion. A removal takes mm's lock before it completes, so while
 * this thread holds it, the same insertion stays, or is being removed and no longer points to mrn_state_unread. It takes no
 * pin, since its unpin could not tell which mm to wake. If the lock is taken, perhaps by the thread that this signal
 * handler interrupted, the next read does it.
 *
 * A3: every token that may have missed the notifier has ended; all others find it, and show in the mm's state. Release:
 * a reader that uses that state sees what this thread has seen.
 */
static void note_read(struct mmu_range_notifier *mrn, struct mrn_mm *mm, uint64_t id)
{
	const uint64_t *unread = &mrn_state_unread;

	/* To look at the order of locks, each read has to come here. */
	if (mrn_lock_order_is_asked || !mrn_mutex_trylock(&mm->writing))
		return;
	MRN_HOOK(read, mrn);
	if (!mrn_pin_look(&mrn->pins) && __atomic_load_n(&mrn->mm, __ATOMIC_RELAXED) == mm &&
	    __atomic_load_n(&mrn->node.id, __ATOMIC_RELAXED) == id)
		__atomic_compare_exchange_n(&mrn->mm_state, &unread, &mm->state, false,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
	mrn_mutex_unlock(&mm->writing);
}

/*
 * Waits for overlapping tokens; 0, MRN_USE_ONCE, or -errno if there is no valid seq. Another thread may meanwhile remove the notifier
 * and insert it again: then the seq that was read before is not that insertion's, and read_retry rejects it.
 */
static int settle(struct mmu_range_notifier *mrn, const struct timespec *deadline, uint64_t *seq)
{
	const uint64_t *state = __atomic_load_n(&mrn->mm_state, __ATOMIC_RELAXED);
	struct mrn_mm *mm = __atomic_load_n(&mrn->mm, __ATOMIC_RELAXED);
	uint64_t id = __atomic_load_n(&mrn->node.id, __ATOMIC_RELAXED);
	int r;

	if (state == &mrn_state_absent || !mm)
		return -ENOENT;
	if (!(__atomic_load_n(&mm->state, __ATOMIC_ACQUIRE) & MRN_STATE_ALIVE))
		return mrn_mm_is_wiped(mm) ? -ESTALE : -ESRCH;
	if (MRN_BROKEN(A2_WAIT))
		return 0;
	if (mrn_has_watcher(mrn)) {
		const struct mrn_watcher *w = mrn_watcher_of(mm);

		/* Without one this is another insertion than mm is of. */
		return w ? w->settle(mrn, mm, deadline, seq) : -ENOENT;
	}
	r = mrn_tokens_wait(mm, __atomic_load_n(&mrn->node.start, __ATOMIC_RELAXED),
			    __atomic_load_n(&mrn->node.end, __ATOMIC_RELAXED), deadline);
	if (!r && state == &mrn_state_unread)
		note_read(mrn, mm, id);
	return r;
}

uint64_t mrn_range_read_begin_slow(struct mmu_range_notifier *mrn, uint64_t seq)
{
	if (mrn_lock_order_is_on())
		mrn_lock_order_read(mrn, "mmu_range_read_begin", __builtin_return_address(0));
	return settle(mrn, NULL, &seq) >= 0 ? seq : 0;
}

/* The kernel refuses to wait for any other time, so the wait loop would spin. */
static bool is_time(const struct timespec *t)
{
	return t->tv_sec >= 0 && t->tv_nsec >= 0 && t->tv_nsec < 1000000000;
}

int mrn_range_read_begin_until(struct mmu_range_notifier *mrn, const struct timespec *deadline,
			       uint64_t *seq)
{
	const uint64_t *state;
	uint64_t s;
	int r;

	if (!mrn || !seq || (deadline && !is_time(deadline)))
		return -EINVAL;
	r = mrn_pin_look(&mrn->pins);
	if (r)
		return r;
	/* With a deadline, no wait is for ever. */
	if (mrn_lock_order_is_on() && (!deadline || MRN_BROKEN(ORDER_WAITS)))
		mrn_lock_order_read(mrn, "mrn_range_read_begin_until", __builtin_return_address(0));
	/* A4: both loads as in mmu_range_read_begin. */
	s = __atomic_load_n(&mrn->invalidate_seq, __ATOMIC_ACQUIRE);
	state = __atomic_load_n(&mrn->mm_state, __ATOMIC_ACQUIRE);
	if (__atomic_load_n(state, __ATOMIC_ACQUIRE) != MRN_MM_IDLE) {
		r = settle(mrn, deadline, &s);
		if (r < 0)
			return r;
	}
	*seq = s;
	return r;
}

/* ---------------------------------------------------------------------------- insert and remove */

/* No more callbacks come: the memory returns to its owner. */
static void retire(struct mmu_range_notifier *mrn)
{
	__atomic_store_n(&mrn->mm_state, &mrn_state_absent, __ATOMIC_RELAXED);
	__atomic_store_n(&mrn->mm, NULL, __ATOMIC_RELAXED);
	mrn_pin_retire(&mrn->pins);
}

/* Returns memory that has been taken out of the index, and that no section can read any more, to the index. */
static void reclaim(struct mrn_mm *mm)
{
	if (!mm->has_old) {
		if (!mrn_index_has_retired(&mm->index))
			return;
		mrn_index_take_retired(&mm->index, &mm->old);
		mrn_grace_begin(mm, &mm->grace);
		mm->has_old = true;
	}
	if (!mrn_grace_has_passed(mm, &mm->grace))
		return;
	mrn_index_recycle(&mm->index, &mm->old);
	mm->has_old = false;
}

/* Puts mrn, which is this thread's alone, into the index. Its fields that a walk may read are set before. */
static int put_in(struct mmu_range_notifier *mrn, uintptr_t start, uintptr_t end, struct mrn_mm *mm,
		  uint64_t need, uint64_t id, struct mrn_index_way *way)
{
	int r;

	__atomic_store_n(&mrn->mm, mm, __ATOMIC_RELAXED);
	__atomic_store_n(&mrn->watched, need != 0, __ATOMIC_RELAXED);
	__atomic_store_n(&mrn->need, need, __ATOMIC_RELAXED);
	__atomic_store_n(&mrn->node.start, start, __ATOMIC_RELAXED);
	__atomic_store_n(&mrn->node.end, end, __ATOMIC_RELAXED);
	__atomic_store_n(&mrn->node.id, id, __ATOMIC_RELAXED);
	/* Release: whoever puts something else in the place of unread sees the fields of this insertion. */
	__atomic_store_n(&mrn->mm_state, MRN_BROKEN(A3_FIRST_READ) ? &mm->state : &mrn_state_unread,
			 __ATOMIC_RELEASE);
	/* A number that no read has returned, and that is no token's. */
	mm->insert_seq = MRN_BROKEN(SEQ_PROCESS) ? id : mrn_seq_after(mm->insert_seq);
	/* Release: a thread that reads this seq, however late, sees this insertion's mm and range, or a later one's. */
	__atomic_store_n(&mrn->invalidate_seq, mm->insert_seq, __ATOMIC_RELEASE);
	if (mrn_lock_order_is_on())
		mrn_lock_order_add(mm, mrn);
	r = mrn_index_insert_at(&mm->index, &mrn->node, way);
	if (r) {
		if (mrn_lock_order_is_on())
			mrn_lock_order_drop(mm, mrn);
		retire(mrn);
		return r;
	}
	/* The notifiers hold one reference together. */
	if (mm->index.filter.entries == 1)
		mrn_mm_get(mm);
	/*
	 * From now on it may be removed. A walk that found it before does not call it; A3 covers that, since this
	 * store, too, comes before the full fence that precedes the first read.
	 */
	mrn_pin_insert(&mrn->pins);
	return 0;
}

/* With the lock held. */
static int insert(struct mmu_range_notifier *mrn, uintptr_t start, uintptr_t end, struct mrn_mm *mm,
		  uint64_t need)
{
	uint64_t id = mrn_mm_draw(mm);
	struct mrn_index_way way;
	int r;

	if (mm->ending)
		return -ESRCH;
	/* The notifier and its place in the index may both be cache misses: both have been prefetched. */
	mrn_index_find(&mm->index, start, id, &way);
	r = mrn_pin_claim(&mrn->pins);
	return r ? r : put_in(mrn, start, end, mm, need, id, &way);
}

/*
 * Releases the lock. A3: the fence orders the notifier, and its draw from the counter, before the look at the tokens in
 * its first read_begin; pairs with the fence in start.
 */
static void unlock_after_insertion(struct mrn_mm *mm)
{
	mrn_mutex_unlock(&mm->writing);
	mrn_fence_after_rmw();
}

/* A program that knows only the first of them has no room for the others: look at them only if there is no such one. */
static bool has_function(const struct mmu_range_notifier_ops *ops)
{
	return ops->invalidate || (ops->invalidate_start && ops->invalidate_finish);
}

static int check_range(uintptr_t start, uintptr_t length)
{
	if (!length)
		return -EINVAL;
	/* Not the last page: its end is not a number. */
	return start + length < start || mrn_page_up(start + length) == UINTPTR_MAX ? -EOVERFLOW
										    : 0;
}

int mrn_insert_watched(struct mmu_range_notifier *mrn, uintptr_t start, uintptr_t length,
		       struct mrn_mm *mm, uint64_t need)
{
	int r;

	if (!mrn || !mm || !mrn->ops || !has_function(mrn->ops) || mrn->events >> MRN_NR_EVENTS)
		return -EINVAL;
	r = check_range(start, length);
	if (r)
		return r;
	if (mrn_mm_is_wiped(mm))
		return -ESTALE;
	if (mrn_callback_depth)
		return -EDEADLK;

	__builtin_prefetch(&mrn->pins, 1);
	mrn_mutex_lock(&mm->writing);
	reclaim(mm);
	r = insert(mrn, mrn_page_down(start), mrn_page_up(start + length), mm, need);
	unlock_after_insertion(mm);
	return r;
}

int mmu_range_notifier_insert(struct mmu_range_notifier *mrn, uintptr_t start, uintptr_t length,
			      struct mrn_mm *mm)
{
	return mrn_insert_watched(mrn, start, length, mm, 0);
}

/* With the lock held. True if another thread may still use it; then holds a reference on mm, for the wait. */
static inline __attribute__((always_inline)) bool take_out(struct mmu_range_notifier *mrn,
							   struct mrn_mm *mm,
							   struct mrn_grace *grace)
{
	reclaim(mm);
	mrn_index_erase(&mm->index, &mrn->node);
	if (mrn_lock_order_is_on())
		mrn_lock_order_drop(mm, mrn);
	mrn_grace_begin(mm, grace);
	if (mrn_grace_has_passed(mm, grace) && mrn_pin_is_idle(&mrn->pins))
		return false;
	mrn_mm_get(mm);
	return true;
}

/* Without the lock: waits until none does. */
static void wait_out(struct mmu_range_notifier *mrn, struct mrn_mm *mm, struct mrn_grace *grace)
{
	mrn_grace_wait(mm, grace);
	mrn_pin_wait_idle(&mm->home, &mrn->pins);
}

/* A5: afterwards no walk finds it, is about to call it, or is in its callback. Then its owner may reuse it. */
static void unlink_range(struct mmu_range_notifier *mrn, struct mrn_mm *mm)
{
	struct mrn_grace grace;
	bool wait, last;

	if (mrn_has_watcher(mrn)) {
		const struct mrn_watcher *w = mrn_watcher_of(mm);

		/* A read may be just arming, under a pin; from then on none does. */
		mrn_pin_wait_idle(&mm->home, &mrn->pins);
		/* None in a child that was forked by a signal handler just now. */
		if (w)
			w->leaves(mrn, mm);
	}
	mrn_mutex_lock(&mm->writing);
	wait = take_out(mrn, mm, &grace);
	last = !mm->index.filter.entries;
	mrn_mutex_unlock(&mm->writing);
	if (wait)
		wait_out(mrn, mm, &grace);
	retire(mrn);
	if (wait)
		mrn_mm_put(mm);
	if (last)
		mrn_mm_put(mm);
}

/* 0 and the mm, for the one caller that removes mrn. */
static int begin_removal(struct mmu_range_notifier *mrn, bool may_wait, struct mrn_mm **mm)
{
	int r;

	if (may_wait && mrn_callback_depth && !mrn_pin_look(&mrn->pins))
		return -EDEADLK;
	r = mrn_pin_begin_removal(&mrn->pins);
	if (r == -ESTALE)
		retire(mrn);
	if (r)
		return r;
	*mm = mrn->mm;
	/* From now on reads must fail, since no callback would follow. */
	__atomic_store_n(&mrn->mm_state, &mrn_state_absent, __ATOMIC_RELAXED);
	mrn_index_prefetch_erase(&(*mm)->index, &mrn->node);
	return 0;
}

int mmu_range_notifier_remove(struct mmu_range_notifier *mrn)
{
	struct mrn_mm *mm;
	int r;

	if (!mrn)
		return -EINVAL;
	r = begin_removal(mrn, true, &mm);
	if (r)
		return r;
	if (mrn_lock_order_is_on())
		mrn_lock_order_remove(mrn, mm, __builtin_return_address(0));
	unlink_range(mrn, mm);
	mrn_reaper_help();
	return 0;
}

/*
 * A5 for the old range, as in unlink_range, comes before any field changes; only then is it put in anew. From
 * begin_removal to there nobody else can claim or remove it, and no walk pins it.
 */
static int move(struct mmu_range_notifier *mrn, uintptr_t start, uintptr_t end, struct mrn_mm *mm)
{
	struct mrn_index_way way;
	struct mrn_grace grace;
	bool wait, last;
	int r = -ESRCH;
	uint64_t id;

	mrn_mutex_lock(&mm->writing);
	wait = take_out(mrn, mm, &grace);
	last = !mm->index.filter.entries;
	if (wait) {
		mrn_mutex_unlock(&mm->writing);
		wait_out(mrn, mm, &grace);
		mrn_mutex_lock(&mm->writing);
	}
	if (mm->ending) {
		retire(mrn);
	} else {
		id = mrn_mm_draw(mm);
		mrn_index_find(&mm->index, start, id, &way);
		r = put_in(mrn, start, end, mm, 0, id, &way);
	}
	unlock_after_insertion(mm);
	if (wait)
		mrn_mm_put(mm);
	if (last)
		mrn_mm_put(mm);
	return r;
}

int mrn_range_notifier_move(struct mmu_range_notifier *mrn, uintptr_t start, uintptr_t length)
{
	struct mrn_mm *mm;
	int r = begin_removal(mrn, true, &mm);

	if (r)
		return r;
	r = check_range(start, length);
	if (r)
		unlink_range(mrn, mm);
	else
		r = move(mrn, mrn_page_down(start), mrn_page_up(start + length), mm);
	mrn_reaper_help();
	return r;
}

static void finish_removal(struct mrn_deferred *d)
{
	struct mmu_range_notifier *mrn = container_of(d, struct mmu_range_notifier, deferred);

	unlink_range(mrn, container_of(d->home, struct mrn_mm, home));
	MRN_CALL(mrn->free_fn(mrn));
}

int mrn_range_notifier_remove_async(struct mmu_range_notifier *mrn,
				    void (*free_fn)(struct mmu_range_notifier *mrn))
{
	struct mrn_mm *mm;
	int r;

	if (!mrn || !free_fn)
		return -EINVAL;
	r = begin_removal(mrn, false, &mm);
	if (r)
		return r;
	__atomic_store_n(&mrn->free_fn, free_fn, __ATOMIC_RELAXED);
	mrn_mm_get(mm);
	mrn_deferred_push(&mm->home, &mrn->deferred, &mrn->pins, finish_removal);
	if (!mrn_callback_depth)
		mrn_deferred_run_if_ended(&mm->home, &mrn->deferred);
	mrn_mm_put(mm);
	return 0;
}
