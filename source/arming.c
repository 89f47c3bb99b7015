/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Notifiers that are inserted with a source arm their ranges themselves. A notifier's mm_state says how far it is:
 *
 *	unread	   not armed, or not known to be; every read takes the slow way
 *	arming[i]  the reader that holds tag i arms it; every other read takes the slow way, and arms for itself
 *	mm->state  armed; a read takes the fast way
 *
 *	       a reader takes tag i         it has armed
 *	unread --------------------> arming[i] -------------> mm->state
 *	   ^                             |                        |
 *	   +-----------------------------+------------------------+
 *	   each callback, after its last pass, before what changes is disarmed
 *
 * Why a read that takes the fast way relies on a range that is armed. It is disarmed only after a callback, and
 * after that callback has set mm_state to unread. Only the reader that holds tag i may turn arming[i] into mm->state, and
 * it put the tag there before it armed: so if a callback came in between, the compare-and-swap fails, whatever other
 * readers have stored since. A read that begins between the callback's new seq and its store of unread finds that
 * invalidation's bit in the mm's state (A4), waits for its end, and looks at mm_state again. A read that began before
 * that has the old seq, which read_retry rejects.
 *
 * Where a range cannot be watched, what is built is good for one use. So each read begins with an invalidation of this
 * notifier alone, and the state stays unread. Then the reader waits for tokens and arms once more, since an invalidation
 * that had called the notifier before this one may still be in progress (A2).
 * ONCE says that a shadow from such a read may be there: the first read that can arm the range again begins with that
 * invalidation, too.
 */
#include "source/arming.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>

#include "core/passes.h"
#include "core/slot.h"
#include "lifetime/pin.h"
#include "os/atomic.h"
#include "os/callback.h"
#include "os/clock.h"
#include "os/random.h"
#include "source/check.h"
#include "source/process.h"

#include "os/event_path.h"

/* How often arming may fail because memory is changing, before the read gives up. */
#define MAX_YIELDS 100000

/* mrn->watched: never 0 while it is inserted with a source. */
#define WATCHED	      1u
#define ONCE	      2u /* a read that found the range good for one use may have led to a shadow */
#define PATIENCE(exp) ((uint32_t)(exp) << 2) /* of a reader that comes after another one */
#define EXPONENT(w)   (((w) >> 2) & 31)
#define READER(w)     ((w) >> 7) /* the last one */
#define MAX_EXPONENT  22	 /* 4 ms */

/* What mm_state points to while a reader arms; never idle. */
#define TAGS 64
static const uint64_t arming[TAGS];

static const struct mrn_arming *arming_of(const struct mrn_mm *mm)
{
	_Static_assert(offsetof(struct mrn_arming, watcher) == 0, "one is where the other is");
	return (const struct mrn_arming *)mrn_watcher_of(mm);
}

int mrn_arming_insert(struct mmu_range_notifier *mrn, uintptr_t start, uintptr_t length,
		      struct mrn_mm *mm, const struct mrn_arming *a, uint64_t need)
{
	int r = mrn_source_process_init();

	if (r)
		return r;
	/* All watched notifiers of an mm have the same watcher. */
	if (mrn_watcher_of(mm) != &a->watcher)
		__atomic_store_n(&mm->watcher, &a->watcher, __ATOMIC_RELEASE);
	return mrn_insert_watched(mrn, start, length, mm, need);
}

/* ------------------------------------------------------------------------------------------- arming */

/* Puts a tag in place of unread: returns its number, or -1. Acquire pairs with the release that stored unread. */
static int take_tag(struct mmu_range_notifier *mrn)
{
	uint64_t *tags = &mrn_source_process->tags, taken = __atomic_load_n(tags, __ATOMIC_RELAXED);
	const uint64_t *unread = &mrn_state_unread;
	int tag;

	if (__atomic_load_n(&mrn->mm_state, __ATOMIC_RELAXED) != unread)
		return -1;
	do {
		if (!~taken)
			return -1;
		tag = __builtin_ctzll(~taken);
		/* Acquire pairs with the release in leave_tag: the last holder's stores come before. */
	} while (!__atomic_compare_exchange_n(tags, &taken, taken | UINT64_C(1) << tag, true,
					      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	if (__atomic_compare_exchange_n(&mrn->mm_state, &unread, &arming[tag], false,
					__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return tag;
	__atomic_fetch_and(tags, ~(UINT64_C(1) << tag), __ATOMIC_RELEASE);
	return -1;
}

/* Release: a read that takes the fast way sees what this thread has seen, including the translations of A3's tokens. */
static void note_armed(struct mmu_range_notifier *mrn, struct mrn_mm *mm, int tag)
{
	const uint64_t *mine = &arming[tag];

	MRN_HOOK(armed, mrn);
	if (MRN_BROKEN(ARMING_TAG))
		__atomic_store_n(&mrn->mm_state, &mm->state, __ATOMIC_RELEASE);
	else
		__atomic_compare_exchange_n(&mrn->mm_state, &mine, &mm->state, false,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

/* Gives the tag back, which still stands in mm_state if nothing was armed. */
static void leave_tag(struct mmu_range_notifier *mrn, int tag)
{
	const uint64_t *mine = &arming[tag];

	__atomic_compare_exchange_n(&mrn->mm_state, &mine, &mrn_state_unread, false,
				    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
	__atomic_fetch_and(&mrn_source_process->tags, ~(UINT64_C(1) << tag), __ATOMIC_RELEASE);
}

/* True if mrn is inserted in mm, by the insertion with this id. Stable under a pin. */
static bool is_same(const struct mmu_range_notifier *mrn, const struct mrn_mm *mm, uint64_t id)
{
	return __atomic_load_n(&mrn->mm, __ATOMIC_RELAXED) == mm &&
	       __atomic_load_n(&mrn->node.id, __ATOMIC_RELAXED) == id && mrn_has_watcher(mrn);
}

/* Pins that insertion. A removal waits for the pin, so it disarms after whatever is armed under it. */
static bool pin_same(struct mmu_range_notifier *mrn, const struct mrn_mm *mm, uint64_t id)
{
	if (!mrn_pin(&mrn->pins))
		return false;
	if (is_same(mrn, mm, id))
		return true;
	mrn_unpin(&__atomic_load_n(&mrn->mm, __ATOMIC_RELAXED)->home, &mrn->pins);
	return false;
}

/* Under a pin. A child that was forked by a signal handler just now finds no arming. */
static int arm_pinned(struct mmu_range_notifier *mrn, struct mrn_mm *mm)
{
	const struct mrn_arming *a = arming_of(mm);
	int r = a ? a->arm(mrn->node.start, mrn->node.end,
			   __atomic_load_n(&mrn->need, __ATOMIC_RELAXED))
		  : -ESTALE;

	/*
	 * The range can be watched again, but a shadow may be there from when it could not. Its reader set ONCE before
	 * it read translations, and an unannounced change came after that and before this arming: the kernel's lock of
	 * the memory orders them.
	 */
	mrn_fence_full();
	if (!r && (__atomic_load_n(&mrn->watched, __ATOMIC_RELAXED) & ONCE) &&
	    !MRN_BROKEN(ARMING_AGAIN))
		return MRN_USE_ONCE;
	return r;
}

/* Waits for tokens and arms, unless it is armed already. tag: what this reader has put into mm_state, or -1. */
static int wait_and_arm(struct mmu_range_notifier *mrn, struct mrn_mm *mm, uint64_t id, int tag,
			const struct timespec *deadline)
{
	uintptr_t start = __atomic_load_n(&mrn->node.start, __ATOMIC_RELAXED);
	uintptr_t end = __atomic_load_n(&mrn->node.end, __ATOMIC_RELAXED);
	const uint64_t *state = __atomic_load_n(&mrn->mm_state, __ATOMIC_RELAXED);
	int r;

	/* Another insertion has other bounds. */
	if (!is_same(mrn, mm, id))
		return -ENOENT;
	/* Without a pin: a thread may remove the notifier before it ends its invalidation. */
	r = mrn_tokens_wait(mm, start, end, deadline);
	/* After the wait: an invalidation that has ended has put unread there. */
	if (!MRN_BROKEN(ARMING_WAITED))
		state = __atomic_load_n(&mrn->mm_state, __ATOMIC_ACQUIRE);
	if (r || state == &mm->state)
		return r;
	/* The monitor, which has to read an event first, may be waiting for this callback. */
	if (mrn_callback_depth)
		return -EDEADLK;
	if (!pin_same(mrn, mm, id))
		return -ENOENT;
	r = arm_pinned(mrn, mm);
	if (!r && tag >= 0)
		note_armed(mrn, mm, tag);
	mrn_unpin(&mm->home, &mrn->pins);
	return r;
}

static int arm(struct mmu_range_notifier *mrn, struct mrn_mm *mm, uint64_t id,
	       const struct timespec *deadline)
{
	int tag = take_tag(mrn), r = wait_and_arm(mrn, mm, id, tag, deadline);

	if (tag >= 0)
		leave_tag(mrn, tag);
	return r;
}

/* ------------------------------------------------------------------------ what is good for one use */

static void sleep_for(uint64_t ns)
{
	uint32_t word = 0;

	mrn_futex_wait_for(&word, 0, (long)ns);
}

static void set_watched(struct mmu_range_notifier *mrn, uint32_t clear, uint32_t set)
{
	uint32_t w = __atomic_load_n(&mrn->watched, __ATOMIC_RELAXED);

	while (!__atomic_compare_exchange_n(&mrn->watched, &w, (w & ~clear) | set, true,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/*
 * Each read of a range that cannot be watched makes the reads of other threads collide. So that of several readers each
 * gets to its read_retry, whoever comes after another one waits a little: ever longer, the oftener readers take turns,
 * until a read fits into the wait. Returns what to tell the next reader in mrn->watched.
 */
static uint32_t let_others_finish(const struct mmu_range_notifier *mrn)
{
	uint32_t w = __atomic_load_n(&mrn->watched, __ATOMIC_RELAXED), exponent = EXPONENT(w);
	uint32_t me = (uint32_t)mrn_thread_self() & READER(~0u);
	uint64_t seed;

	if (READER(w) == me || !READER(w)) {
		exponent -= exponent > 0;
	} else {
		exponent += exponent < MAX_EXPONENT;
		seed = mrn_now_ns() ^ mrn_thread_self();
		sleep_for((UINT64_C(1) << exponent) +
			  mrn_random_below(&seed, UINT64_C(1) << exponent));
	}
	return me << 7 | PATIENCE(exponent);
}

/* Makes this notifier tear its shadow down, as if its range had changed. Call with a pin. */
static uint64_t invalidate_alone(struct mmu_range_notifier *mrn, struct mrn_mm *mm)
{
	struct mmu_notifier_range range;
	struct mrn_calls calls;
	uint64_t seq;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, MMU_NOTIFIER_RANGE_BLOCKABLE, mm,
				mrn->node.start, mrn->node.end);
	range.cause = MRN_CAUSE_DETACH;
	MRN_EVENT_PATH_ENTER();
	mrn_token_publish(mm, &range);
	/* For the fence at a section's beginning. */
	mrn_section_enter(mm, range.slot);
	mrn_section_leave(mm, range.slot);
	mrn_token_raise(mm, &range);
	seq = range.seq;
	calls = mrn_calls_begin();
	mrn_call_both_passes(mrn, &range);
	mrn_calls_end(calls);
	mrn_token_withdraw(mm, &range);
	MRN_EVENT_PATH_LEAVE();
	return seq;
}

/* Before a read of a range that cannot be watched: 0 and its new seq, or -errno. */
static int begin_anew(struct mmu_range_notifier *mrn, struct mrn_mm *mm, uint64_t id,
		      const struct timespec *deadline, uint64_t *seq)
{
	uint32_t turn = let_others_finish(mrn);

	if (deadline && mrn_is_past(deadline))
		return -ETIMEDOUT;
	if (!pin_same(mrn, mm, id))
		return -ENOENT;
	/* ONCE goes before the callback: a shadow that another reader builds from now on stays marked. */
	set_watched(mrn, ~WATCHED, turn);
	*seq = invalidate_alone(mrn, mm);
	mrn_unpin(&mm->home, &mrn->pins);
	return 0;
}

/* Before the caller reads translations that nobody watches. */
static int mark_once(struct mmu_range_notifier *mrn, struct mrn_mm *mm, uint64_t id)
{
	if (!pin_same(mrn, mm, id))
		return -ENOENT;
	set_watched(mrn, 0, ONCE);
	/* Pairs with the fence in arm_pinned. */
	mrn_fence_full();
	mrn_unpin(&mm->home, &mrn->pins);
	return MRN_USE_ONCE;
}

int mrn_arming_settle(struct mmu_range_notifier *mrn, struct mrn_mm *mm,
		      const struct timespec *deadline, uint64_t *seq)
{
	/* The insertion that this read is of; the seq of an earlier one is rejected. */
	uint64_t id = __atomic_load_n(&mrn->node.id, __ATOMIC_ACQUIRE);
	bool anew = MRN_BROKEN(ARMING_ONCE);
	int r;

	for (int yields = 0; yields < MAX_YIELDS; yields++) {
		r = arm(mrn, mm, id, deadline);
		if (r == MRN_USE_ONCE && anew)
			return mark_once(mrn, mm, id);
		if (r == MRN_USE_ONCE) {
			r = begin_anew(mrn, mm, id, deadline, seq);
			if (r)
				return r;
			anew = true;
			continue;
		}
		if (r != -EAGAIN)
			return r;
		if (deadline && mrn_is_past(deadline))
			return -ETIMEDOUT;
		sched_yield();
	}
	return -EAGAIN;
}

/* --------------------------------------------------------------------------------------- callbacks */

void mrn_arming_changes(struct mmu_range_notifier *mrn, struct mrn_mm *mm)
{
	const uint64_t *state = __atomic_load_n(&mrn->mm_state, __ATOMIC_RELAXED);

	/*
	 * Not if a removal has begun. Release, even of unread over unread: a reader that takes it for its tag acts
	 * after what came before. Each failure is another thread's step; readers have two each at most.
	 */
	while (!MRN_BROKEN(ARMING_UNREAD) && state != &mrn_state_absent &&
	       !__atomic_compare_exchange_n(&mrn->mm_state, &state, &mrn_state_unread, true,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

/* None, here and below: as in arm_pinned. */
void mrn_arming_changed(struct mrn_mm *mm, const struct mmu_notifier_range *range, uintptr_t start,
			uintptr_t end)
{
	const struct mrn_arming *a = arming_of(mm);

	if (a)
		a->disarm_changing(range, start, end);
}

void mrn_arming_leaves(struct mmu_range_notifier *mrn, struct mrn_mm *mm)
{
	const struct mrn_arming *a = arming_of(mm);

	if (a)
		a->disarm(mrn);
}
