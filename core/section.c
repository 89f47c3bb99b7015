/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sections: who reads the index says so in his slot, and whoever has taken something out of it waits until
 * all who may have found it have said that they are done.
 *
 *	reader		walk odd, a release; full fence; look	...	walk even, a release
 *	writer		take out; full fence; look at walk	...	acquire; free
 *
 * Store, full fence, load on both sides: either the reader does not find it, or the writer sees him reading. Both of
 * the reader's stores are releases, since the writer may learn of a section's end by a later one's beginning: what
 * was read in the first comes before the writer's free only if that store, too, releases it.
 * These are the slots that tokens are in, so an invalidation pays for one fence; a writer looks at as many as
 * there have been threads with invalidations.
 *
 * Without a slot, a reader holds more_lock, with signals blocked; whoever has had that lock since knows.
 */
#include "core/slot.h"

#include "os/event_path.h"

MRN_TLS unsigned int mrn_slot_mine;

/* Threads are numbered as they come, so that few of them use few slots, and two seldom the same line. */
static unsigned int mine(unsigned int n)
{
	static unsigned int numbers;

	/* A signal handler between the two draws one more: no harm. */
	if (!mrn_slot_mine)
		mrn_slot_mine =
			1 + __atomic_fetch_add(&numbers, 1, __ATOMIC_RELAXED) % MRN_TOKEN_SLOTS;
	return (mrn_slot_mine - 1) % n;
}

int mrn_slot_claim_any(struct mrn_mm *mm)
{
	unsigned int n = mrn_slots(), i = mine(n);

	for (unsigned int tries = 0; tries < n; tries++, i = i + 1 < n ? i + 1 : 0) {
		if (!mrn_slot_try(mm, i))
			continue;
		mrn_slot_note_used(mm, i);
		return (int)i;
	}
	return -1;
}

void mrn_section_enter_locked(struct mrn_mm *mm)
{
	mrn_sigmask mask = mrn_signals_block();

	mrn_mutex_lock(&mm->more_lock);
	mm->more_mask = mask;
	/* Orders the lock before every look at the index; pairs with mrn_grace_begin's. */
	mrn_fence_full();
}

void mrn_section_leave_locked(struct mrn_mm *mm)
{
	mrn_sigmask mask = mm->more_mask;

	mrn_mutex_unlock(&mm->more_lock);
	mrn_signals_restore(mask);
}

void mrn_grace_begin(struct mrn_mm *mm, struct mrn_grace *g)
{
	uint64_t used;

	/* Orders what has been taken out before the look at walk; pairs with mrn_section_enter's. */
	mrn_fence_full();
	g->slots = 0;
	g->more = __atomic_load_n(&mm->more_lock.word, __ATOMIC_ACQUIRE);
	if (MRN_BROKEN(A5_GRACE)) {
		g->more = false;
		return;
	}
	for (used = __atomic_load_n(&mm->used, __ATOMIC_ACQUIRE); used; used &= used - 1) {
		unsigned int i = (unsigned int)__builtin_ctzll(used);

		g->walk[i] = __atomic_load_n(&mm->slot[i].walk, __ATOMIC_ACQUIRE);
		if (g->walk[i] & 1)
			g->slots |= UINT64_C(1) << i;
	}
}

static bool slots_have_passed(struct mrn_mm *mm, struct mrn_grace *g)
{
	for (uint64_t left = g->slots; left; left &= left - 1) {
		unsigned int i = (unsigned int)__builtin_ctzll(left);

		if (__atomic_load_n(&mm->slot[i].walk, __ATOMIC_ACQUIRE) != g->walk[i])
			g->slots &= ~(UINT64_C(1) << i);
	}
	return !g->slots;
}

bool mrn_grace_has_passed(struct mrn_mm *mm, struct mrn_grace *g)
{
	mrn_sigmask mask;

	if (g->more) {
		mask = mrn_signals_block();
		if (mrn_mutex_trylock(&mm->more_lock)) {
			mrn_mutex_unlock(&mm->more_lock);
			g->more = false;
		}
		mrn_signals_restore(mask);
	}
	return slots_have_passed(mm, g) && !g->more;
}

/* A section is some hundred instructions; where its thread has lost its processor, it needs one. */
static void let_run(struct mrn_mm *mm, const struct mrn_grace *g, unsigned int tries)
{
	unsigned int i = (unsigned int)__builtin_ctzll(g->slots);

	if (tries < 64)
		return;
	if (tries < 128) {
		mrn_sys0(SYS_sched_yield);
		return;
	}
	/* Nobody wakes us: a reader would have to look for us. But below us, too, somebody may be reading. */
	mrn_futex_wait_for(&mm->slot[i].walk, g->walk[i], 1000000);
}

void mrn_grace_wait(struct mrn_mm *mm, struct mrn_grace *g)
{
	mrn_sigmask mask;

	if (g->more) {
		mask = mrn_signals_block();
		mrn_mutex_lock(&mm->more_lock);
		mrn_mutex_unlock(&mm->more_lock);
		mrn_signals_restore(mask);
		g->more = false;
	}
	for (unsigned int tries = 0; !slots_have_passed(mm, g); tries++)
		let_run(mm, g, tries);
}
