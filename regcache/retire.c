/* SPDX-License-Identifier: BSD-3-Clause */
/* The end of an entry: unlink it, stop watching its range, deregister it, free its slot. */
#include <errno.h>
#include <stddef.h>

#include "os/cancel.h"
#include "os/probe.h"
#include "regcache/cache.h"
#include "source/state.h"

void mrn_entry_release(struct mrn_regcache *c, struct entry *e)
{
	MRN_PROBE(deregister, e->pub.addr, e->pub.length);
	c->ops->deregister_range(c->ctx, &e->pub);
}

void mrn_entry_deregister(struct mrn_regcache *c, struct entry *e)
{
	mrn_entry_release(c, e);
	if (c->source)
		mrn_source_disarm(c->source, &e->mrn);
}

void mrn_entry_retire(struct mrn_regcache *c, struct entry *e)
{
	mrn_cache_unlink(c, e);
	mrn_mutex_unlock(&c->lock);
	mrn_entry_deregister(c, e);
	mmu_range_notifier_remove(&e->mrn);
	mrn_mutex_lock(&c->lock);
	c->stats.deregistrations++;
	mrn_slot_give_back(c, e);
}

void mrn_entry_retire_dead(struct mrn_regcache *c)
{
	struct entry *e, *next;

	/* Under the lock, so that a thread that needs room sees either the stack or retiring. */
	mrn_retiring_begin(c);
	/* Acquire pairs with the push: the last use of each entry happens before its deregistration. */
	e = __atomic_exchange_n(&c->dead, NULL, __ATOMIC_ACQUIRE);
	for (; e; e = next) {
		next = e->next;
		mrn_entry_retire(c, e);
	}
	mrn_retiring_end_locked(c);
}

void mrn_cache_reap(struct mrn_regcache *c)
{
	int cancel;

	if (!mrn_cache_has_dead(c))
		return;
	cancel = mrn_cancel_hold();
	mrn_mutex_lock(&c->lock);
	mrn_entry_retire_dead(c);
	mrn_mutex_unlock(&c->lock);
	mrn_cancel_restore(cancel);
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
	struct mrn_source *source;
	int r;

	if (!c)
		return -EINVAL;
	r = mrn_cache_may_wait(c);
	if (r)
		return r;
	/* Another thread, which destroys the cache, may have waited just for this one. */
	source = c->source;
	mrn_cache_kill_all(c);
	mrn_source_give_back(source);
	return 0;
}
