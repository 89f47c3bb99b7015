/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sections: who reads the index says so in his slot, and whoever has taken something out of it waits until
 * all who may have found it have said that they are done.
 *
 *	reader		walk odd; full fence; look		...	walk even, a release
 *	writer		take out; full fence; look at walk	...	acquire; free
 *
 * Store, full fence, load on both sides: either the reader does not find it, or the writer sees him reading.
 * These are the slots that tokens are in, so an invalidation pays for one fence; a writer looks at as many as
 * there have been threads with invalidations.
 *
 * Without a slot, a reader holds more_lock, with signals blocked; whoever has had that lock since knows.
 */
#include "core/check.h"
#include "core/mm.h"
#include "os/atomic.h"

#include "os/event_path.h"

static unsigned int slots(void)
{
#ifdef MRN_CHECK
	return mrn_check_slots;
#else
	return MRN_TOKEN_SLOTS;
#endif
}

/* Threads are numbered as they come, so that few of them use few slots, and two seldom the same line. */
static unsigned int first_slot(void)
{
	static uint32_t numbers;
	static MRN_TLS uint32_t number;

	/* A signal handler between the two draws one more: no harm. */
	if (!number)
		number = __atomic_add_fetch(&numbers, 1, __ATOMIC_RELAXED);
	return (number - 1) % slots();
}

/*
 * Before the slot's first token or section, each of which has a full fence. A writer whose fence comes later sees
 * the bit; of one whose fence came before, the reader finds what he has written.
 */
static void note_used(struct mrn_mm *mm, unsigned int slot)
{
	uint64_t bit = UINT64_C(1) << slot;

	if (!(__atomic_load_n(&mm->used, __ATOMIC_RELAXED) & bit))
		__atomic_fetch_or(&mm->used, bit, __ATOMIC_RELAXED);
}

int mrn_slot_claim(struct mrn_mm *mm)
{
	unsigned int n = slots(), i = first_slot();

	for (unsigned int tries = 0; tries < n; tries++, i = i + 1 < n ? i + 1 : 0) {
		uint32_t *word = &mm->slot[i].word, w = __atomic_load_n(word, __ATOMIC_RELAXED);

		/* Acquire pairs with the release: the slot is as whoever had it left it. */
		if ((w & MRN_SLOT_TAKEN) ||
		    !__atomic_compare_exchange_n(word, &w, w | MRN_SLOT_TAKEN, false,
						 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			continue;
		note_used(mm, i);
		return (int)i;
	}
	return -1;
}

void mrn_slot_release(struct mrn_mm *mm, int slot)
{
	uint32_t *word;

	if (slot < 0)
		return;
	word = &mm->slot[slot].word;
	__atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED) & ~MRN_SLOT_TAKEN,
			 __ATOMIC_RELEASE);
}

struct mrn_section mrn_section_enter(struct mrn_mm *mm, int slot)
{
	struct mrn_section section = {.slot = slot};

	if (slot < 0) {
		section.mask = mrn_signals_block();
		mrn_mutex_lock(&mm->more_lock);
	} else {
		__atomic_store_n(&mm->slot[slot].walk, mm->slot[slot].walk + 1, __ATOMIC_RELAXED);
	}
	/* Orders walk, or the lock, before every look at the index; pairs with mrn_grace_begin's. */
	mrn_fence_full();
	return section;
}

void mrn_section_leave(struct mrn_mm *mm, struct mrn_section section)
{
	if (section.slot < 0) {
		mrn_mutex_unlock(&mm->more_lock);
		mrn_signals_restore(section.mask);
		return;
	}
	/* Release pairs with the acquire in mrn_grace_has_passed: what was read was read before. */
	__atomic_store_n(&mm->slot[section.slot].walk, mm->slot[section.slot].walk + 1,
			 __ATOMIC_RELEASE);
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
	struct timespec deadline;

	if (tries < 64)
		return;
	if (tries < 128) {
		mrn_sys0(SYS_sched_yield);
		return;
	}
	/* Nobody wakes us: a reader would have to look for us. But below us, too, somebody may be reading. */
	mrn_sys2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&deadline);
	deadline.tv_nsec += 1000000;
	if (deadline.tv_nsec >= 1000000000) {
		deadline.tv_nsec -= 1000000000;
		deadline.tv_sec++;
	}
	mrn_futex_wait(&mm->slot[i].walk, g->walk[i], &deadline);
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
