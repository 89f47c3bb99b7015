/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What happens to an entry without a lock: references are taken and dropped, and an invalidation marks
 * it dead. The callback runs inside somebody's munmap or free: it marks, counts and queues.
 *
 * A hit looks at the tokens, then takes its reference. The other order would be wrong, because no retry
 * check follows: a lookup that found no token found every callback's work done, that of an invalidation
 * that is over, or has no invalidation to fear yet. The dead bit and the references share one word, so
 * no fence is needed between them.
 */
#include <errno.h>
#include <stddef.h>

#include "core/check.h"
#include "regcache/cache.h"

#include "os/event_path.h"

static void touch(struct entry *e)
{
	uint64_t tick = __atomic_load_n(&e->cache->tick, __ATOMIC_RELAXED);

	if (__atomic_load_n(&e->used, __ATOMIC_RELAXED) != tick)
		__atomic_store_n(&e->used, tick, __ATOMIC_RELAXED);
}

bool mrn_entry_take(struct entry *e)
{
	uint64_t w = __atomic_load_n(&e->word, __ATOMIC_RELAXED);

	do {
		if ((w & (WORD_DEAD | WORD_BUILDING)) || (w & WORD_REFS) == WORD_REFS)
			return false;
		/* Acquire pairs with the release that made the entry live: its range and its handle. */
	} while (!__atomic_compare_exchange_n(&e->word, &w, w + WORD_HIT + 1, true,
					      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	touch(e);
	return true;
}

/* Only whole stacks are popped, so there is no ABA. */
static void push_dead(struct entry *e)
{
	struct entry *top = __atomic_load_n(&e->cache->dead, __ATOMIC_RELAXED);

	do {
		e->next = top;
	} while (!__atomic_compare_exchange_n(&e->cache->dead, &top, e, true, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
}

int mrn_entry_drop(struct entry *e, bool hit)
{
	uint64_t w = __atomic_load_n(&e->word, __ATOMIC_RELAXED);

	touch(e);
	do {
		if (!(w & WORD_REFS) || (w & WORD_BUILDING))
			return -EINVAL;
		/* Release: the uses of the registration come before its deregistration. */
	} while (!__atomic_compare_exchange_n(&e->word, &w, w - 1 - (hit ? WORD_HIT : 0), true,
					      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	if ((w & WORD_REFS) == 1 && (w & WORD_DEAD))
		push_dead(e);
	return 0;
}

bool mrn_entry_kill(struct entry *e)
{
	uint64_t w = __atomic_fetch_or(&e->word, WORD_DEAD, __ATOMIC_ACQ_REL);

	if (w & WORD_DEAD)
		return false;
	if (!(w & WORD_REFS) || (MRN_BROKEN(CACHE_REFS) && !(w & WORD_BUILDING)))
		push_dead(e);
	return true;
}

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	struct entry *e = (struct entry *)((char *)mrn - offsetof(struct entry, mrn));
	struct mrn_regcache *c = e->cache;

	/*
	 * The word stands in for the driver lock. Publishing is: check the seq, then turn BUILDING | 1
	 * into 1 by compare-and-swap. Of this order here, seq and then DEAD, each step defeats the
	 * publisher that has not passed the other.
	 */
	mmu_range_notifier_update_seq(mrn, cur_seq);
	if (mrn_entry_kill(e))
		__atomic_fetch_add(&c->invalidations_by[range->cause], 1, __ATOMIC_RELAXED);
	if (c->source)
		mrn_source_disarm_changing(c->source, mrn, range);
	return true;
}

const struct mmu_range_notifier_ops mrn_entry_notifier_ops = {.invalidate = invalidate};
