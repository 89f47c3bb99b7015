/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sections: a reader of the index marks its slot, and a writer that has unlinked something waits until every reader
 * that may have found it has cleared its mark.
 *
 *	reader		walk odd, a release; full fence; look	...	walk even, a release
 *	writer		take out; full fence; look at walk	...	acquire; free
 *
 * Store, full fence, load on both sides: either the reader does not find it, or the writer sees the reader's mark. Both
 * of the reader's stores are releases, since the writer may see a section's end only through a later section's
 * beginning: that store, too, must order the first section's reads before the writer's free. Tokens use the same slots,
 * so an invalidation pays for one fence; a writer reads as many slots as threads have ever claimed one.
 *
 * Without a slot, a reader holds more_lock, with signals blocked; a writer waits by taking that lock.
 */
#include "core/slot.h"

#include "os/event_path.h"

MRN_TLS unsigned int mrn_slot_mine;

/* Threads are numbered in order, so that few threads use few slots, and two rarely share a line. */
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
	mrn_sigmask mask = mrn_mutex_lock_masked(&mm->more_lock);

	mm->more_mask = mask;
	/* Orders the lock before every look at the index; pairs with mrn_grace_begin's. */
	mrn_fence_full();
}

void mrn_section_leave_locked(struct mrn_mm *mm)
{
	mrn_sigmask mask = mm->more_mask;

	mrn_mutex_unlock_masked(&mm->more_lock, mask);
}

void mrn_grace_begin(struct mrn_mm *mm, struct mrn_grace *g)
{
	uint64_t used;

	/* Orders the unlinking before the read of walk; pairs with mrn_section_enter's fence. */
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

/* A section is some hundred instructions; if its thread was preempted, give it a processor. */
static void let_run(struct mrn_mm *mm, const struct mrn_grace *g, unsigned int tries)
{
	unsigned int i = (unsigned int)__builtin_ctzll(g->slots);

	if (tries < 64)
		return;
	if (tries < 128) {
		mrn_sys0(SYS_sched_yield);
		return;
	}
	/*
	 * Readers do not wake waiters: they would have to check for them. The timeout also lets a reader run that has a
	 * lower priority.
	 */
	mrn_futex_wait_for(&mm->slot[i].walk, g->walk[i], 1000000);
}

void mrn_grace_wait(struct mrn_mm *mm, struct mrn_grace *g)
{
	mrn_sigmask mask;

	if (g->more) {
		mask = mrn_mutex_lock_masked(&mm->more_lock);
		mrn_mutex_unlock_masked(&mm->more_lock, mask);
		g->more = false;
	}
	for (unsigned int tries = 0; !slots_have_passed(mm, g); tries++)
		let_run(mm, g, tries);
}
