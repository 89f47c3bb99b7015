/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Slots: every invalidation runs this code, so it is here to be inlined. section.c explains sections, token.c tokens.
 *
 * A slot's word is a seqlock to read the token by, and a futex:
 *
 *	TAKEN		the slot is claimed
 *	ACTIVE		it holds a token
 *	WAITERS		a thread sleeps until the token has ended
 *	ENDING		a thread is ending it: a second end, or one of a copy of the range, does nothing
 *	GENERATION	how many tokens it has held
 */
#ifndef MRN_CORE_SLOT_H
#define MRN_CORE_SLOT_H

#include "core/check.h"
#include "core/mm.h"
#include "core/seq.h"
#include "os/atomic.h"

#define MRN_SLOT_ACTIVE	    1u
#define MRN_SLOT_WAITERS    2u
#define MRN_SLOT_TAKEN	    4u
#define MRN_SLOT_ENDING	    8u
#define MRN_SLOT_GENERATION 16u

static inline unsigned int mrn_slots(void)
{
#ifdef MRN_CHECK
	if (mrn_check_slots)
		return mrn_check_slots;
#endif
	return MRN_TOKEN_SLOTS;
}

/* The slot that this thread tries first, from 1 on; 0 before its first. */
extern MRN_TLS unsigned int mrn_slot_mine;
/* Claims any free slot; -1 if there is none. */
int mrn_slot_claim_any(struct mrn_mm *mm);

static inline bool mrn_slot_try(struct mrn_mm *mm, unsigned int i)
{
	uint32_t *word = &mm->slot[i].word, w = __atomic_load_n(word, __ATOMIC_RELAXED);

	/* Acquire pairs with the release by the slot's previous owner. */
	return !(w & MRN_SLOT_TAKEN) &&
	       __atomic_compare_exchange_n(word, &w, w | MRN_SLOT_TAKEN, false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

/*
 * Before the slot's first token or section, each of which has a full fence. A writer whose fence comes later sees the
 * bit; if it came before, the reader sees what the writer has written.
 */
static inline void mrn_slot_note_used(struct mrn_mm *mm, unsigned int i)
{
	uint64_t bit = UINT64_C(1) << i;

	if (__builtin_expect(!(__atomic_load_n(&mm->used, __ATOMIC_RELAXED) & bit), 0))
		__atomic_fetch_or(&mm->used, bit, __ATOMIC_RELAXED);
}

/* Claims a slot for this thread; -1 if there is none: then sections take a lock. */
static inline int mrn_slot_claim(struct mrn_mm *mm)
{
	unsigned int mine = mrn_slot_mine;

	if (__builtin_expect(!mine || mine > mrn_slots() || !mrn_slot_try(mm, mine - 1), 0))
		return mrn_slot_claim_any(mm);
	mrn_slot_note_used(mm, mine - 1);
	return (int)mine - 1;
}

/* Releases a slot that holds no token. */
static inline void mrn_slot_release(struct mrn_mm *mm, int slot)
{
	uint32_t *word;

	if (slot < 0)
		return;
	word = &mm->slot[slot].word;
	__atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED) & ~MRN_SLOT_TAKEN,
			 __ATOMIC_RELEASE);
}

/* ------------------------------------------------------------------------------------------ sections */

void mrn_section_enter_locked(struct mrn_mm *mm);
void mrn_section_leave_locked(struct mrn_mm *mm);

/*
 * Between enter and leave, nothing found in the index is reused. enter is a full fence. Keep sections short, call no
 * consumer's code, do not nest with the same slot.
 */
static inline void mrn_section_enter(struct mrn_mm *mm, int slot)
{
	uint32_t *walk;

	if (__builtin_expect(slot < 0, 0)) {
		mrn_section_enter_locked(mm);
		return;
	}
	walk = &mm->slot[slot].walk;
	/* Release: orders the slot's earlier sections; a writer that sees this store takes them as ended, and frees. */
	__atomic_store_n(walk, *walk + 1, __ATOMIC_RELEASE);
	/* Orders walk before every look at the index; pairs with mrn_grace_begin's. */
	mrn_fence_full();
}

static inline void mrn_section_leave(struct mrn_mm *mm, int slot)
{
	uint32_t *walk;

	if (__builtin_expect(slot < 0, 0)) {
		mrn_section_leave_locked(mm);
		return;
	}
	walk = &mm->slot[slot].walk;
	/*
	 * Release pairs with the acquires in mrn_grace_begin and mrn_grace_has_passed: the section's reads happen
	 * before.
	 */
	__atomic_store_n(walk, *walk + 1, __ATOMIC_RELEASE);
}

/* -------------------------------------------------------------------------------------------- tokens */

void mrn_token_publish_overflow(struct mrn_mm *mm, struct mmu_notifier_range *range);
bool mrn_token_begin_end_overflow(struct mrn_mm *mm, const struct mmu_notifier_range *range);
void mrn_token_withdraw_overflow(struct mrn_mm *mm, const struct mmu_notifier_range *range);

/* True if the range has begun and not ended. The range may be garbage, except its mm, and has a seq. */
bool mrn_token_is_in_progress(struct mrn_mm *mm, const struct mmu_notifier_range *range);

/*
 * Gives *range a fresh seq, and makes the token visible in its slot. The full fence of a section must follow. thread is
 * the one that will call back, and must not wait for this token.
 */
static inline void mrn_token_publish_for(struct mrn_mm *mm, struct mmu_notifier_range *range,
					 uint64_t thread)
{
	struct mrn_token_slot *s;

	range->thread = thread;
	range->slot = mrn_slot_claim(mm);
	range->raised = range->ending = false;
	if (__builtin_expect(range->slot < 0, 0)) {
		mrn_token_publish_overflow(mm, range);
		return;
	}
	s = &mm->slot[range->slot];
	range->seq = mrn_seq_after(s->seq);
	/* Releases: a reader that reads these after an older word finds the word changed when it reads it again. */
	__atomic_store_n(&s->thread, range->thread, __ATOMIC_RELEASE);
	__atomic_store_n(&s->start, range->start, __ATOMIC_RELEASE);
	__atomic_store_n(&s->end, range->end, __ATOMIC_RELEASE);
	__atomic_store_n(&s->seq, range->seq, __ATOMIC_RELEASE);
	__atomic_store_n(&s->word, __atomic_load_n(&s->word, __ATOMIC_RELAXED) | MRN_SLOT_ACTIVE,
			 __ATOMIC_RELEASE);
}

static inline void mrn_token_publish(struct mrn_mm *mm, struct mmu_notifier_range *range)
{
	mrn_token_publish_for(mm, range, mrn_thread_self());
}

/*
 * Makes the token visible in the mm's state, too. Call before the first callback, or before anything else that may
 * reveal the change. No fence.
 */
static inline void mrn_token_raise(struct mrn_mm *mm, struct mmu_notifier_range *range)
{
	if (range->slot < 0 || range->raised)
		return;
	/*
	 * A4: comes before the callbacks' stores of the seq, which release it. Release: a reader that sees the bit sees
	 * the token in its slot.
	 */
	__atomic_fetch_or(&mm->state, MRN_STATE_SLOT(range->slot), __ATOMIC_RELEASE);
	range->raised = true;
}

/*
 * The word of the range's slot, if that holds the range's token; else 0. A slot keeps its last token's seq, which no
 * other token has, and the word is read before it: so if the seq is this range's, an ACTIVE word is its token's, and a
 * compare-and-swap of that word cannot change another token.
 */
static inline uint32_t mrn_token_word(const struct mrn_token_slot *s,
				      const struct mmu_notifier_range *range)
{
	uint32_t word = __atomic_load_n(&s->word, __ATOMIC_ACQUIRE);

	return word & MRN_SLOT_ACTIVE && __atomic_load_n(&s->seq, __ATOMIC_ACQUIRE) == range->seq
		       ? word
		       : 0;
}

/* For a thread that has work to do before it withdraws the token: true for one, false for every other. */
static inline bool mrn_token_begin_end(struct mrn_mm *mm, const struct mmu_notifier_range *range)
{
	struct mrn_token_slot *s;
	uint32_t word;

	if (__builtin_expect(range->slot < 0, 0))
		return mrn_token_begin_end_overflow(mm, range);
	s = &mm->slot[range->slot];
	do {
		word = mrn_token_word(s, range);
		if (!word || word & MRN_SLOT_ENDING)
			return false;
	} while (!__atomic_compare_exchange_n(&s->word, &word, word | MRN_SLOT_ENDING, true,
					      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return true;
}

/*
 * Withdraws the token (a release) and wakes waiters; does nothing if it has ended. If the token was raised, only the
 * thread that began its end, or the only one that can end it, may call this. *range is the caller's again.
 */
static inline void mrn_token_withdraw(struct mrn_mm *mm, struct mmu_notifier_range *range)
{
	struct mrn_token_slot *s;
	uint32_t word, next;

	if (__builtin_expect(range->slot < 0, 0)) {
		mrn_token_withdraw_overflow(mm, range);
		return;
	}
	s = &mm->slot[range->slot];
	/*
	 * A4: both releases pair with the readers' acquires: a reader that sees the end sees the change. The bit is
	 * cleared while the slot is taken, so of two tokens that use it in turn neither clears the other's.
	 */
	if (range->raised)
		__atomic_fetch_and(&mm->state, ~MRN_STATE_SLOT(range->slot), __ATOMIC_RELEASE);
	do {
		word = mrn_token_word(s, range);
		if (!word)
			return;
		next = (word & ~(MRN_SLOT_GENERATION - 1)) + MRN_SLOT_GENERATION;
	} while (!__atomic_compare_exchange_n(&s->word, &word, next, true, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
	if (word & MRN_SLOT_WAITERS)
		mrn_futex_wake(&s->word, INT_MAX);
	range->slot = -1;
}

#endif
