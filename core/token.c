/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tokens: the invalidations in progress.
 *
 * A slot's life: FREE (thread NULL) -> claimed by compare-and-swap on thread -> seq drawn, fields
 * written -> word ACTIVE -> the mm's state bit set -> ... -> state bit cleared -> word inactive, next
 * generation, waiters woken -> FREE. The bit is cleared before the slot is freed and set after it was
 * claimed, so of two tokens that use a slot in turn neither clears the other's bit.
 *
 * A reader that finds a bit set reads word, fields, word: unless both words are ACTIVE and of one
 * generation, the token that it was to look at has ended. Slots are never freed memory: reading an
 * old one is harmless.
 */
#include <errno.h>

#include "core/check.h"
#include "core/mm.h"

#include "os/event_path.h"

#define ACTIVE	   1u
#define WAITERS	   2u
#define GENERATION 4u

static unsigned int slots(void)
{
#ifdef MRN_CHECK
	return mrn_check_slots;
#else
	return MRN_TOKEN_SLOTS;
#endif
}

/* Spreads threads over the slots, so that two seldom meet on one cache line. */
static unsigned int first_slot(const void *thread)
{
	return (unsigned int)(((uint64_t)(uintptr_t)thread * UINT64_C(0x9e3779b97f4a7c15)) >> 32) %
	       slots();
}

static int claim(struct mrn_mm *mm, const void *thread)
{
	unsigned int n = slots(), i = first_slot(thread);

	for (unsigned int tries = 0; tries < n; tries++, i = i + 1 < n ? i + 1 : 0) {
		const void *nobody = NULL;

		if (__atomic_load_n(&mm->slot[i].thread, __ATOMIC_RELAXED))
			continue;
		if (__atomic_compare_exchange_n(&mm->slot[i].thread, &nobody, thread, false,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return (int)i;
	}
	return -1;
}

static void publish_overflow(struct mrn_mm *mm, struct mmu_notifier_range *range)
{
	mrn_sigmask mask = mrn_signals_block();

	mrn_mutex_lock(&mm->more_lock);
	range->seq = mrn_mm_draw(mm);
	range->next = mm->more;
	mm->more = range;
	__atomic_fetch_or(&mm->state, MRN_STATE_MORE, __ATOMIC_SEQ_CST);
	mrn_mutex_unlock(&mm->more_lock);
	mrn_signals_restore(mask);
}

void mrn_token_publish(struct mrn_mm *mm, struct mmu_notifier_range *range)
{
	struct mrn_token_slot *s;
	uint32_t word;

	range->thread = mrn_thread_self();
	range->slot = claim(mm, range->thread);
	if (range->slot < 0) {
		publish_overflow(mm, range);
		return;
	}
	s = &mm->slot[range->slot];
	range->seq = mrn_mm_draw(mm);
	/* Releases: a reader that meets these under an older word sees, looking again, that it is old. */
	__atomic_store_n(&s->start, range->start, __ATOMIC_RELEASE);
	__atomic_store_n(&s->end, range->end, __ATOMIC_RELEASE);
	__atomic_store_n(&s->seq, range->seq, __ATOMIC_RELEASE);
	word = __atomic_load_n(&s->word, __ATOMIC_RELAXED);
	__atomic_store_n(&s->word, word | ACTIVE, __ATOMIC_RELEASE);
	__atomic_fetch_or(&mm->state, MRN_STATE_SLOT(range->slot), __ATOMIC_SEQ_CST);
}

static void withdraw_overflow(struct mrn_mm *mm, struct mmu_notifier_range *range)
{
	mrn_sigmask mask = mrn_signals_block();
	struct mmu_notifier_range **link = &mm->more;

	mrn_mutex_lock(&mm->more_lock);
	while (*link != range)
		link = &(*link)->next;
	*link = range->next;
	if (!mm->more)
		__atomic_fetch_and(&mm->state, ~MRN_STATE_MORE, __ATOMIC_RELEASE);
	__atomic_fetch_add(&mm->more_ended, 1, __ATOMIC_RELEASE);
	mrn_mutex_unlock(&mm->more_lock);
	mrn_signals_restore(mask);
	mrn_futex_wake(&mm->more_ended, INT_MAX);
}

void mrn_token_withdraw(struct mrn_mm *mm, struct mmu_notifier_range *range)
{
	struct mrn_token_slot *s;
	uint32_t old;

	if (range->slot < 0) {
		withdraw_overflow(mm, range);
		return;
	}
	s = &mm->slot[range->slot];
	/* A4: both releases pair with the readers' acquires: who sees the end sees the change. */
	__atomic_fetch_and(&mm->state, ~MRN_STATE_SLOT(range->slot), __ATOMIC_RELEASE);
	old = __atomic_load_n(&s->word, __ATOMIC_RELAXED);
	old = __atomic_exchange_n(&s->word, (old & ~(ACTIVE | WAITERS)) + GENERATION,
				  __ATOMIC_RELEASE);
	if (old & WAITERS)
		mrn_futex_wake(&s->word, INT_MAX);
	__atomic_store_n(&s->thread, NULL, __ATOMIC_RELEASE);
	range->slot = -1;
}

/* A consistent look at a slot. */
struct look {
	const void *thread;
	uint64_t seq;
	uint32_t word;
};

/* Does the slot hold a token that overlaps [start, end)? */
static bool look(struct mrn_token_slot *s, uintptr_t start, uintptr_t end, struct look *l)
{
	uintptr_t from, to;

	l->word = __atomic_load_n(&s->word, __ATOMIC_ACQUIRE);
	if (!(l->word & ACTIVE))
		return false;
	/* Acquires, so that the second look at word cannot come before them. */
	l->thread = __atomic_load_n(&s->thread, __ATOMIC_ACQUIRE);
	from = __atomic_load_n(&s->start, __ATOMIC_ACQUIRE);
	to = __atomic_load_n(&s->end, __ATOMIC_ACQUIRE);
	l->seq = __atomic_load_n(&s->seq, __ATOMIC_ACQUIRE);
	/* Acquire pairs with withdraw's release: who learns here that it has ended sees the new translations. */
	if ((__atomic_load_n(&s->word, __ATOMIC_ACQUIRE) ^ l->word) & ~WAITERS)
		return false;
	return from < end && to > start;
}

/* The newest token of the overflow list that overlaps and is not younger than upto. */
static bool look_overflow(struct mrn_mm *mm, uintptr_t start, uintptr_t end, uint64_t upto,
			  struct look *l)
{
	mrn_sigmask mask = mrn_signals_block();
	bool found = false;

	mrn_mutex_lock(&mm->more_lock);
	l->word = __atomic_load_n(&mm->more_ended, __ATOMIC_RELAXED);
	for (struct mmu_notifier_range *r = mm->more; r; r = r->next) {
		if (r->seq > upto || r->start >= end || r->end <= start)
			continue;
		l->seq = r->seq;
		l->thread = r->thread;
		found = true;
		if (l->thread == mrn_thread_self())
			break;
	}
	mrn_mutex_unlock(&mm->more_lock);
	mrn_signals_restore(mask);
	return found;
}

bool mrn_tokens_overlap(struct mrn_mm *mm, uintptr_t start, uintptr_t end)
{
	/* Acquire: A4, as in read_begin. */
	uint64_t state = __atomic_load_n(&mm->state, __ATOMIC_ACQUIRE);
	struct look l;

	if (state & MRN_STATE_MORE && look_overflow(mm, start, end, UINT64_MAX, &l))
		return true;
	state &= ~(MRN_STATE_MORE | MRN_STATE_ALIVE);
	for (; state; state &= state - 1)
		if (look(&mm->slot[__builtin_ctzll(state) - 1], start, end, &l))
			return true;
	return false;
}

static void waiting_for(uint64_t seq)
{
#ifdef MRN_CHECK
	void (*hook)(uint64_t token_seq) = mrn_check_wait_hook;

	if (hook)
		hook(seq);
#else
	(void)seq;
#endif
}

static bool is_own(const struct look *l)
{
	return l->thread == mrn_thread_self() && !MRN_BROKEN(P4_OWN_TOKEN);
}

/* P4: found before anybody else's token is waited for, who may be waiting for ours to end. */
static bool holds_own(struct mrn_mm *mm, uint64_t state, uintptr_t start, uintptr_t end)
{
	struct look l;

	for (; state; state &= state - 1)
		if (look(&mm->slot[__builtin_ctzll(state) - 1], start, end, &l) && is_own(&l))
			return true;
	return false;
}

static int wait_slot(struct mrn_token_slot *s, uintptr_t start, uintptr_t end, uint64_t upto,
		     const struct timespec *deadline)
{
	struct look l;
	uint32_t generation;

	if (!look(s, start, end, &l) || l.seq > upto)
		return 0;
	generation = l.word & ~(ACTIVE | WAITERS);
	waiting_for(l.seq);
	for (;;) {
		uint32_t word = __atomic_load_n(&s->word, __ATOMIC_ACQUIRE);

		/* P1: the token has ended; whatever is in the slot now began after it. */
		if ((word & ~(ACTIVE | WAITERS)) != generation)
			return 0;
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

	/* Every end of a token in the list wakes us; P1: those that are not above upto only get fewer. */
	while (look_overflow(mm, start, end, upto, &l)) {
		if (is_own(&l))
			return -EDEADLK;
		if (l.seq != waited_for)
			waiting_for(l.seq);
		waited_for = l.seq;
		if (mrn_futex_wait(&mm->more_ended, l.word, deadline) == -ETIMEDOUT)
			return -ETIMEDOUT;
	}
	return 0;
}

/*
 * P1: upto is the last seq drawn when we were called. A token with a higher one started later. It
 * need not be waited for: a notifier that was in the index before, it calls back; one that was not
 * was given a number above that of every token that missed it, so those are not above upto (A3).
 */
int mrn_tokens_wait(struct mrn_mm *mm, uintptr_t start, uintptr_t end,
		    const struct timespec *deadline)
{
	uint64_t upto = __atomic_load_n(&mm->counter, __ATOMIC_ACQUIRE);
	uint64_t state;
	bool more;
	int r = 0;

again:
	if (MRN_BROKEN(P1_LATER_TOKENS))
		upto = UINT64_MAX;
	state = __atomic_load_n(&mm->state, __ATOMIC_ACQUIRE);
	more = state & MRN_STATE_MORE;
	state &= ~(MRN_STATE_MORE | MRN_STATE_ALIVE);
	if (holds_own(mm, state, start, end))
		return -EDEADLK;
	if (more)
		r = wait_overflow(mm, start, end, upto, deadline);
	for (; state && !r; state &= state - 1)
		r = wait_slot(&mm->slot[__builtin_ctzll(state) - 1], start, end, upto, deadline);
	if (!r && MRN_BROKEN(P1_LATER_TOKENS) && mrn_tokens_overlap(mm, start, end))
		goto again;
	return r;
}
