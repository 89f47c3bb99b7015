/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tokens: the invalidations in progress.
 *
 * A slot's life as a token: claimed -> fields written -> word ACTIVE -> full fence -> the index is looked at: a
 * notifier is met -> the slot's bit set in the mm's state -> callbacks -> ... -> bit cleared -> word inactive, next
 * generation, the slot free, waiters woken.
 *
 * Until an invalidation has met a notifier, no reader need know of it: it matters only to a notifier inserted after its
 * walk, whose first read checks all slots (A3). So there are two checks: of the state, for notifiers that have been
 * read before, and of every slot that has ever been used.
 *
 * To read a slot: word, fields, word. Unless both words are ACTIVE and of one generation, ignore it: the token has
 * ended, or has yet to begin. Slots are not freed while the mm lives: reading an old one is harmless.
 */
#include <errno.h>

#include "core/slot.h"

#include "os/event_path.h"

#define ACTIVE	   MRN_SLOT_ACTIVE
#define WAITERS	   MRN_SLOT_WAITERS
#define ENDING	   MRN_SLOT_ENDING
#define GENERATION MRN_SLOT_GENERATION

uint64_t mrn_seq_blocks;

void mrn_token_publish_overflow(struct mrn_mm *mm, struct mmu_notifier_range *range)
{
	mrn_sigmask mask = mrn_mutex_lock_masked(&mm->more_lock);

	/* Under the lock; atomic for a test that reads it without. */
	__atomic_store_n(&mm->more_seq, mrn_seq_after(mm->more_seq), __ATOMIC_RELAXED);
	range->seq = mm->more_seq;
	range->next = mm->more;
	mm->more = range;
	/* As in mrn_token_raise; what A3 needs is the fence of the section that follows. */
	__atomic_fetch_or(&mm->state, MRN_STATE_MORE, __ATOMIC_RELEASE);
	mrn_mutex_unlock_masked(&mm->more_lock, mask);
}

/*
 * Under more_lock: the link to the range that was started with this seq; it may be the original of the caller's copy.
 */
static struct mmu_notifier_range **find_overflow(struct mrn_mm *mm, uint64_t seq)
{
	struct mmu_notifier_range **link = &mm->more;

	while (*link && (*link)->seq != seq)
		link = &(*link)->next;
	return link;
}

bool mrn_token_begin_end_overflow(struct mrn_mm *mm, const struct mmu_notifier_range *range)
{
	mrn_sigmask mask = mrn_mutex_lock_masked(&mm->more_lock);
	struct mmu_notifier_range *listed;
	bool first;

	listed = *find_overflow(mm, range->seq);
	first = listed && !listed->ending;
	if (first)
		listed->ending = true;
	mrn_mutex_unlock_masked(&mm->more_lock, mask);
	return first;
}

void mrn_token_withdraw_overflow(struct mrn_mm *mm, const struct mmu_notifier_range *range)
{
	mrn_sigmask mask = mrn_mutex_lock_masked(&mm->more_lock);
	struct mmu_notifier_range **link;
	bool there;

	link = find_overflow(mm, range->seq);
	there = *link;
	if (there) {
		*link = (*link)->next;
		if (!mm->more)
			__atomic_fetch_and(&mm->state, ~MRN_STATE_MORE, __ATOMIC_RELEASE);
		__atomic_fetch_add(&mm->more_ended, 1, __ATOMIC_RELEASE);
	}
	mrn_mutex_unlock_masked(&mm->more_lock, mask);
	if (there)
		mrn_futex_wake(&mm->more_ended, INT_MAX);
}

bool mrn_token_is_in_progress(struct mrn_mm *mm, const struct mmu_notifier_range *range)
{
	mrn_sigmask mask;
	bool there;

	if (range->slot >= 0)
		return range->slot < MRN_TOKEN_SLOTS &&
		       mrn_token_word(&mm->slot[range->slot], range);
	mask = mrn_mutex_lock_masked(&mm->more_lock);
	there = *find_overflow(mm, range->seq);
	mrn_mutex_unlock_masked(&mm->more_lock, mask);
	return there;
}

/* A consistent snapshot of a slot. */
struct look {
	uint64_t thread;
	uint64_t seq;
	uint32_t word;
};

/* True if the slot holds a token that overlaps [start, end). */
static bool look(struct mrn_token_slot *s, uintptr_t start, uintptr_t end, struct look *l)
{
	uintptr_t from, to;

	l->word = __atomic_load_n(&s->word, __ATOMIC_ACQUIRE);
	if (!(l->word & ACTIVE))
		return false;
	/* Acquires, so that the second read of word cannot come before them. */
	l->thread = __atomic_load_n(&s->thread, __ATOMIC_ACQUIRE);
	from = __atomic_load_n(&s->start, __ATOMIC_ACQUIRE);
	to = __atomic_load_n(&s->end, __ATOMIC_ACQUIRE);
	l->seq = __atomic_load_n(&s->seq, __ATOMIC_ACQUIRE);
	/*
	 * Acquire pairs with withdraw's release: a reader that sees here that it has ended sees the new translations.
	 */
	if ((__atomic_load_n(&s->word, __ATOMIC_ACQUIRE) ^ l->word) & ~(WAITERS | ENDING))
		return false;
	return from < end && to > start;
}

/* True if the overflow list has an overlapping token no younger than upto: finds the newest, or this thread's own. */
static bool look_overflow(struct mrn_mm *mm, uintptr_t start, uintptr_t end, uint64_t upto,
			  struct look *l)
{
	mrn_sigmask mask = mrn_mutex_lock_masked(&mm->more_lock);
	bool found = false;

	l->word = __atomic_load_n(&mm->more_ended, __ATOMIC_RELAXED);
	for (struct mmu_notifier_range *r = mm->more; r; r = r->next) {
		if (r->seq > upto || r->start >= end || r->end <= start)
			continue;
		if (!found || r->thread == mrn_thread_self()) {
			l->seq = r->seq;
			l->thread = r->thread;
		}
		found = true;
	}
	mrn_mutex_unlock_masked(&mm->more_lock, mask);
	return found;
}

bool mrn_tokens_overlap(struct mrn_mm *mm, uintptr_t start, uintptr_t end)
{
	/* Acquire: A4, as in read_begin. */
	uint64_t used = __atomic_load_n(&mm->used, __ATOMIC_ACQUIRE);
	struct look l;

	if (__atomic_load_n(&mm->state, __ATOMIC_ACQUIRE) & MRN_STATE_MORE &&
	    look_overflow(mm, start, end, UINT64_MAX, &l))
		return true;
	for (; used; used &= used - 1)
		if (look(&mm->slot[__builtin_ctzll(used)], start, end, &l))
			return true;
	return false;
}

static bool is_own(const struct look *l)
{
	return l->thread == mrn_thread_self() && !MRN_BROKEN(P4_OWN_TOKEN);
}

static int wait_slot(struct mrn_token_slot *s, uint32_t generation, uint64_t seq,
		     const struct timespec *deadline)
{
	bool told = false;

	for (;;) {
		uint32_t word = __atomic_load_n(&s->word, __ATOMIC_ACQUIRE);

		/* P1: the token has ended; any token now in the slot began later. */
		if (word / GENERATION != generation)
			return 0;
		if (!told)
			MRN_HOOK(wait, seq);
		told = true;
		if (!(word & WAITERS) &&
		    !__atomic_compare_exchange_n(&s->word, &word, word | WAITERS, false,
						 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			continue;
		if (mrn_futex_wait(&s->word, word | WAITERS, deadline) == -ETIMEDOUT)
			return -ETIMEDOUT;
	}
}

static int wait_overflow(struct mrn_mm *mm, uintptr_t start, uintptr_t end, uint64_t upto,
			 const struct timespec *deadline)
{
	uint64_t waited_for = 0;
	struct look l;

	/* Every end of a token in the list wakes this thread; P1: those up to upto only get fewer. */
	while (look_overflow(mm, start, end, upto, &l)) {
		if (l.seq != waited_for)
			MRN_HOOK(wait, l.seq);
		waited_for = l.seq;
		if (mrn_futex_wait(&mm->more_ended, l.word, deadline) == -ETIMEDOUT)
			return -ETIMEDOUT;
	}
	return 0;
}

/* The tokens that overlap a range, when the wait began. */
struct tokens {
	uint64_t slots; /* a bit for each */
	uint64_t upto;	/* of the overflow list, up to this seq; 0 for none */
	uint32_t generation[MRN_TOKEN_SLOTS];
	uint64_t seq[MRN_TOKEN_SLOTS];
};

/* False if one of them is this thread's own. */
static bool find_tokens(struct mrn_mm *mm, uintptr_t start, uintptr_t end, struct tokens *t)
{
	/* Acquire: A4, as in read_begin. */
	uint64_t used = __atomic_load_n(&mm->used, __ATOMIC_ACQUIRE);
	struct look l;

	t->slots = t->upto = 0;
	if (__atomic_load_n(&mm->state, __ATOMIC_ACQUIRE) & MRN_STATE_MORE &&
	    look_overflow(mm, start, end, UINT64_MAX, &l)) {
		if (is_own(&l))
			return false;
		t->upto = l.seq;
	}
	for (; used; used &= used - 1) {
		unsigned int i = (unsigned int)__builtin_ctzll(used);

		if (!look(&mm->slot[i], start, end, &l))
			continue;
		if (is_own(&l))
			return false;
		t->slots |= UINT64_C(1) << i;
		t->generation[i] = l.word / GENERATION;
		t->seq[i] = l.seq;
	}
	return true;
}

/*
 * P1: waits only for tokens that are there now. A token that starts later calls the notifier (A3), since its walk comes
 * after this look, which comes after the notifier's insertion.
 *
 * P4: finds this thread's own token before waiting for another's, whose thread may be waiting for ours to end.
 */
int mrn_tokens_wait(struct mrn_mm *mm, uintptr_t start, uintptr_t end,
		    const struct timespec *deadline)
{
	struct tokens t;
	int r = 0;

again:
	if (!find_tokens(mm, start, end, &t))
		return -EDEADLK;
	if (t.upto)
		r = wait_overflow(mm, start, end, t.upto, deadline);
	for (uint64_t left = t.slots; left && !r; left &= left - 1) {
		unsigned int i = (unsigned int)__builtin_ctzll(left);

		r = wait_slot(&mm->slot[i], t.generation[i], t.seq[i], deadline);
	}
	if (!r && MRN_BROKEN(P1_LATER_TOKENS) && mrn_tokens_overlap(mm, start, end))
		goto again;
	return r;
}
