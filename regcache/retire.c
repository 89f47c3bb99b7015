/* SPDX-License-Identifier: BSD-3-Clause */
/* The end of an entry: unlink it from the index, stop watching its range, deregister it, free its slot. */
#include <errno.h>
#include <stddef.h>

#include "regcache/check.h"
#include "os/cancel.h"
#include "os/futex.h"
#include "regcache/cache.h"

void mrn_entry_free_slot(struct entry *e)
{
	struct mrn_regcache *c = e->cache;

	c->bytes -= e->pub.length;
	c->entries--;
	e->next = c->free;
	c->free = e;
	pthread_cond_broadcast(&c->freed);
}

void mrn_entry_retire(struct entry *e)
{
	struct mrn_regcache *c = e->cache;

	pthread_mutex_lock(&c->lock);
	if (e->linked) {
		mrn_index_erase(&c->index, &e->node);
		mrn_cache_recycle(c);
		mrn_lru_remove(c, e);
		e->linked = false;
	}
	pthread_mutex_unlock(&c->lock);

	if (c->source)
		mrn_source_disarm(c->source, &e->mrn);
	mmu_range_notifier_remove(&e->mrn);
	c->ops->deregister_range(c->ctx, &e->pub);

	pthread_mutex_lock(&c->lock);
	c->stats.deregistrations++;
	mrn_entry_free_slot(e);
	pthread_mutex_unlock(&c->lock);
}

void mrn_cache_reap(struct mrn_regcache *c)
{
	struct entry *e, *next;
	int cancel;

	if (!__atomic_load_n(&c->dead, __ATOMIC_RELAXED))
		return;
	cancel = mrn_cancel_hold();
	/* Under the lock, so that a thread that needs room sees either the stack or retiring. */
	pthread_mutex_lock(&c->lock);
	c->retiring++;
	/* Acquire pairs with the push: the last use of each entry happens before its deregistration. */
	e = __atomic_exchange_n(&c->dead, NULL, __ATOMIC_ACQUIRE);
	pthread_mutex_unlock(&c->lock);
	for (; e; e = next) {
		next = e->next;
		mrn_entry_retire(e);
	}
	pthread_mutex_lock(&c->lock);
	c->retiring--;
	pthread_cond_broadcast(&c->freed);
	pthread_mutex_unlock(&c->lock);
	mrn_cancel_restore(cancel);
}

/* Claims dead entries that no thread has claimed, or waits for those that have. The lock as for mrn_cache_settle. */
static bool settle_queue(struct mrn_regcache *c)
{
	bool claimed = false;
	uint32_t n;

	for (unsigned int i = 0; i < c->max_entries; i++) {
		struct entry *e = &c->pool[i];
		/* Acquire pairs with the release of RETIRED: queuing went up before. */
		uint64_t w = __atomic_load_n(&e->word, __ATOMIC_ACQUIRE);

		if (mrn_word_is_over(w) && !(w & WORD_RETIRED)) {
			mrn_entry_claim(e, w);
			claimed = true;
		}
	}
	if (claimed)
		return true;
	/* Acquire pairs with the release of the last push. */
	n = __atomic_load_n(&c->queuing, __ATOMIC_ACQUIRE);
	if (!n)
		return __atomic_load_n(&c->dead, __ATOMIC_RELAXED) != NULL;
	pthread_mutex_unlock(&c->lock);
	/* If another thread has pushed meanwhile, queuing is not n any more. */
	if ((n & QUEUING_WAITED) ||
	    __atomic_compare_exchange_n(&c->queuing, &n, n | QUEUING_WAITED, false,
					__ATOMIC_RELAXED, __ATOMIC_RELAXED))
		mrn_futex_wait(&c->queuing, n | QUEUING_WAITED, NULL);
	pthread_mutex_lock(&c->lock);
	return true;
}

bool mrn_cache_settle(struct mrn_regcache *c)
{
	if (__atomic_load_n(&c->dead, __ATOMIC_RELAXED)) {
		pthread_mutex_unlock(&c->lock);
		mrn_cache_reap(c);
		pthread_mutex_lock(&c->lock);
		return true;
	}
	if (c->retiring) {
		pthread_cond_wait(&c->freed, &c->lock);
		return true;
	}
	return !MRN_BROKEN(CACHE_QUEUING) && settle_queue(c);
}

void mrn_cache_kill_all(struct mrn_regcache *c)
{
	for (unsigned int i = 0; i < c->max_entries; i++)
		mrn_entry_kill(&c->pool[i]);
	mrn_cache_reap(c);
}

int mrn_regcache_reap(struct mrn_regcache *c)
{
	int r;

	if (!c)
		return -EINVAL;
	r = mrn_cache_may_wait(c);
	if (!r)
		mrn_cache_reap(c);
	return r;
}

int mrn_regcache_flush(struct mrn_regcache *c)
{
	int r;

	if (!c)
		return -EINVAL;
	r = mrn_cache_may_wait(c);
	if (!r)
		mrn_cache_kill_all(c);
	return r;
}
