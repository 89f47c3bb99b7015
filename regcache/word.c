/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lock-free part of an entry: taking and dropping references, and marking the entry dead. The callback runs inside
 * somebody's munmap or free: it marks, counts and queues.
 *
 * A hit checks the tokens, then takes its reference. The other order would be wrong, because no retry check follows: a
 * lookup that found no token sees the work of all callbacks of invalidations that are over; one that starts later does
 * not matter to it. DEAD and the references share one word, so no fence is needed between them.
 */
#include <errno.h>

#include "os/container_of.h"
#include "regcache/check.h"
#include "os/futex.h"
#include "regcache/cache.h"

#include "os/event_path.h"

/* Only whole stacks are popped, so there is no ABA. */
static void push_dead(struct entry *e)
{
	struct entry *top = __atomic_load_n(&e->cache->dead, __ATOMIC_RELAXED);

	do {
		e->next = top;
	} while (!__atomic_compare_exchange_n(&e->cache->dead, &top, e, true, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
}

/* One operation, after which c may be freed: destroy waits for queuing. */
static void end_queuing(struct mrn_regcache *c)
{
	uint32_t n = __atomic_load_n(&c->queuing, __ATOMIC_RELAXED);

	/* Release: a thread that finds queuing down finds the entry on the stack. */
	while (!__atomic_compare_exchange_n(&c->queuing, &n, (n - 1) & ~QUEUING_WAITED, true,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	if (n & QUEUING_WAITED)
		mrn_futex_wake(&c->queuing, INT_MAX);
}

void mrn_entry_claim(struct entry *e, uint64_t w)
{
	uint64_t bits = WORD_REFS | WORD_DEAD | (MRN_BROKEN(CACHE_RETIRED) ? 0 : WORD_RETIRED);
	struct mrn_regcache *c = e->cache;

	if ((w & bits) != WORD_DEAD)
		return;
	MRN_HOOK(claim, false);
	/* Before RETIRED is set; that release orders the two. */
	__atomic_fetch_add(&c->queuing, 1, __ATOMIC_RELAXED);
	while ((w & bits) == WORD_DEAD) {
		/* Acquire pairs with the release of every drop; push_dead passes all of it on. */
		if (__atomic_compare_exchange_n(&e->word, &w, w | WORD_RETIRED, true,
						__ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
			MRN_HOOK(claim, true);
			push_dead(e);
			break;
		}
	}
	end_queuing(c);
}

void mrn_entry_give_back(struct entry *e)
{
	uint64_t w = __atomic_sub_fetch(&e->word, WORD_HIT + 1, __ATOMIC_ACQ_REL);

	if (mrn_word_is_over(w))
		mrn_entry_claim(e, w);
}

bool mrn_entry_kill(struct entry *e)
{
	uint64_t w = __atomic_fetch_or(&e->word, WORD_DEAD, __ATOMIC_ACQ_REL);

	if (w & WORD_DEAD)
		return false;
	if (MRN_BROKEN(CACHE_REFS) && (w & WORD_REFS) && !(w & WORD_BUILDING)) {
		__atomic_fetch_or(&e->word, WORD_RETIRED, __ATOMIC_RELAXED);
		push_dead(e);
	}
	mrn_entry_claim(e, w | WORD_DEAD);
	return true;
}

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	struct entry *e = container_of(mrn, struct entry, mrn);
	struct mrn_regcache *c = e->cache;

	if (MRN_BROKEN(CACHE_NOTIFIER) || (range->cause == MRN_CAUSE_FORK && c->ignores_fork))
		return true;
	/*
	 * The word takes the place of the driver lock. To publish: check the seq, then clear BUILDING by
	 * compare-and-swap. Here: store the seq, then set DEAD. A publisher that has not checked the seq yet sees the
	 * new one; one that has fails at DEAD. Setting DEAD releases the seq; a builder that clears DEAD, to try again,
	 * acquires it.
	 */
	mmu_range_notifier_update_seq(mrn, cur_seq);
	if (mrn_entry_kill(e))
		__atomic_fetch_add(&c->invalidations_by[range->cause], 1, __ATOMIC_RELAXED);
	return true;
}

const struct mmu_range_notifier_ops mrn_entry_notifier_ops = {.invalidate = invalidate};
