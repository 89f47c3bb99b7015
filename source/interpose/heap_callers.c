/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which thread has which caller (source/heap_callers.h). A thread claims one at its first allocation, since from then on
 * malloc keeps memory for it, and gives it back when the thread ends.
 */
#include "source/interpose/heap_callers.h"

#include <pthread.h>

#include "os/pages.h"
#include "source/bracket/check.h"

#include "os/event_path.h"

struct mrn_heap_knowledge mrn_heap_known;

struct mrn_heap_caller mrn_heap_nobody = {.owner = UINT64_MAX, .word = {1, 1}};
MRN_TLS struct mrn_heap_caller *mrn_heap_own_caller = &mrn_heap_nobody;

/*
 * The last that is known of a thread: it may now free at any time, past every wrapper, until it is gone. Destructors of
 * other keys may run after this one; their calls are inside this one.
 */
static void begins_to_end(void *caller)
{
	struct mrn_heap_caller *c = mrn_heap_own_caller;
	long tid = mrn_sys0(SYS_gettid);

	(void)caller;
	if (!mrn_heap_is_owner(c) || MRN_BROKEN(HEAP_ENDS))
		return;
	for (int i = 0; i < MRN_NR_HEAP_CALLS; i++)
		mrn_heap_begin(&c->word[i]);
	/* The word never repeats, so neither does this. A refused gettid leaves the caller taken for ever. */
	__atomic_store_n(&c->ending, tid > 0 ? (uint64_t)tid | c->word[MRN_HEAP_TOP] << 32 : 0,
			 __ATOMIC_RELEASE);
}

/*
 * Keys below this lie in the thread itself; for others pthread_setspecific allocates, and would come back here.
 */
#define KEYS_IN_THREAD 32

/* False without a usable key. */
static bool get_key(pthread_key_t *key)
{
	static uint32_t plus_one; /* 0: none yet */
	uint32_t have = __atomic_load_n(&plus_one, __ATOMIC_ACQUIRE);

	if (!have) {
		pthread_key_t fresh;

		if (pthread_key_create(&fresh, begins_to_end))
			return false;
		/* Threads may race: one key stays. */
		if (__atomic_compare_exchange_n(&plus_one, &have, fresh + 1, false,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			have = fresh + 1;
		else
			pthread_key_delete(fresh);
	}
	*key = have - 1;
	return *key < KEYS_IN_THREAD;
}

static bool claim(struct mrn_heap_caller *c, uint64_t owner)
{
	uint64_t none = 0;

	return !__atomic_load_n(&c->owner, __ATOMIC_RELAXED) &&
	       __atomic_compare_exchange_n(&c->owner, &none, owner, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

static struct mrn_heap_caller *find(struct mrn_heap_callers *all, uint64_t owner)
{
	for (uint32_t i = 0; i < MRN_HEAP_CALLERS; i++) {
		uint32_t used;

		if (!claim(&all->caller[i], owner))
			continue;
		/* Before any word is odd: whoever reads up to used sees it. */
		used = __atomic_load_n(&all->used, __ATOMIC_RELAXED);
		while (used <= i &&
		       !__atomic_compare_exchange_n(&all->used, &used, i + 1, false,
						    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			;
		return &all->caller[i];
	}
	for (uint32_t i = 0; i < MRN_HEAP_CALLERS; i++)
		if (mrn_heap_caller_recycle(&all->caller[i]) && claim(&all->caller[i], owner))
			return &all->caller[i];
	return NULL;
}

/*
 * A handler may interrupt this anywhere, and claim one, too. If it comes before the check, its caller stays; later, the
 * one claimed here, and the other one is never used again.
 */
struct mrn_heap_caller *mrn_heap_claim_caller(void)
{
	const uint64_t owner = mrn_heap_owner();
	struct mrn_heap_caller *c = NULL;
	pthread_key_t key;

	if (__atomic_load_n(&mrn_heap_known.lost, __ATOMIC_RELAXED))
		return &mrn_heap_nobody;
	/* Not of the room for small tables: a program's first allocation comes before it has made any hole. */
	if (get_key(&key) && !MRN_PAGES_RESERVE_ONCE(mrn_heap_known.callers))
		c = find(mrn_heap_known.callers, owner);
	if (c && mrn_heap_is_owner(mrn_heap_own_caller)) {
		__atomic_store_n(&c->owner, 0, __ATOMIC_RELEASE);
		return mrn_heap_own_caller;
	}
	if (c) {
		mrn_heap_own_caller = c;
		if (!pthread_setspecific(key, c))
			return c;
	}
	__atomic_store_n(&mrn_heap_known.lost, true, __ATOMIC_RELAXED);
	return &mrn_heap_nobody;
}
