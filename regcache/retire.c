/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The end of an entry: out of the index, its range no longer watched, deregistered, its slot free.
 */
#include <stddef.h>

#include "core/check.h"
#include "os/cancel.h"
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
	if (!MRN_BROKEN(CACHE_NOTIFIER))
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
	/* Under the lock, so that whoever needs room sees either the stack or that we have it in hand. */
	pthread_mutex_lock(&c->lock);
	c->retiring++;
	/* Acquire pairs with the push: the last use of each happens before its deregistration. */
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
