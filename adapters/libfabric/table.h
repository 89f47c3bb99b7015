/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ranges that libfabric has registered or is about to register. Each has a watch: a range notifier, found by the exact
 * address and length that libfabric asks about.
 *
 * libfabric pins memory, then puts an entry into its cache, and then subscribes; before it reuses an entry it asks whether
 * that is valid. It holds its lock, mm_lock, while it asks, and while it looks an entry up. So nothing is pushed to it:
 * when memory changes, a callback notes that, and the next question is answered with no.
 *
 *	FREE	in no chain
 *	COLD	in the table, and not watched. No cache of libfabric's has an entry of this range.
 *	LIVE	watched since born, and, if its notifier's seq is still the one that was read then, unchanged since
 *	BUSY	taken by one thread, which makes libfabric forget the range
 *
 *	FREE -> COLD -> LIVE -> BUSY -> COLD	by mrn_fabric_begin
 *	                LIVE, COLD -> BUSY -> FREE	by the reaper
 *
 * Guarantees
 *  F1  If a cache of libfabric's has an entry of a range, the range's watch is in the table, and has been LIVE or BUSY
 *      since before the entry's pin. A watch leaves BUSY only after libfabric has forgotten the range (notify), and
 *      meanwhile no entry of the range is accepted.
 *  F2  An accepted entry was pinned while its range was watched: the watch was born before this thread last left our code,
 *      and the pin came after that. (A thread subscribes for its own pins, and has no second one in between.)
 *  F3  valid is true only if no invalidation of the range is in progress, nor has been since the entry's pin. First it
 *      looks for tokens, then at the seq: an invalidation that has no token any more has changed the seq before.
 *
 * Locks. Our lock is a leaf under libfabric's mm_lock, as subscribe takes it there; so notify, which takes mm_lock, is
 * never called with it. Notifiers are inserted and armed under it, not removed. No callback takes it.
 *
 * valid takes no lock: mm_lock keeps other questions out, and chains are changed by single stores. A watch that has left
 * the table is used again only after another notify: that waits for mm_lock, so for a look-up that may still be reading it.
 */
#ifndef MRN_LIBFABRIC_TABLE_H
#define MRN_LIBFABRIC_TABLE_H

#include <mrn/libfabric.h>
#include <pthread.h>

enum { WATCH_FREE, WATCH_COLD, WATCH_LIVE, WATCH_BUSY };

/* Does a pin keep what this process sees after a fork? Nobody has looked before the first domain is opened. */
enum { FORK_NOT_LOOKED, FORK_IS_SAFE, FORK_IS_UNSAFE };

/* A question that is answered with yes reads and writes one cache line of the range's watch, which ends in the notifier. */
struct watch {
	uintptr_t addr;
	size_t length;
	struct watch *next; /* in its chain, or on the free list */
	uint64_t seq;	    /* the notifier's, when it was born */
	uint32_t state;
	uint32_t used; /* stats.found, cut off, when it was last found valid, or added */
	struct mmu_range_notifier notifier;
	uint64_t born;
} __attribute__((aligned(64)));
_Static_assert(offsetof(struct watch, notifier.mm_state) < 64 &&
		       offsetof(struct watch, notifier.invalidate_seq) < 64,
	       "what a question reads is in one cache line");

struct table {
	struct mrn_mm *mm; /* NULL unless installed */
	struct mrn_source *source;
	uint64_t need;
	void (*notify)(const void *addr, size_t length); /* libfabric forgets the range */
	uint32_t fork; /* FORK_...; nothing is kept unless it is FORK_IS_SAFE */

	unsigned int nr, hash_shift;
	struct watch **chains;
	struct watch *pool;

	pthread_mutex_t lock;
	unsigned int fresh; /* watches of the pool that have been used at all */
	unsigned int nr_free;
	struct watch *free;
	uint64_t births;

	uint32_t bell; /* a futex: the reaper has something to do */
	uint32_t done; /* a futex: goes up when a watch ceases to be BUSY */
	struct mrn_libfabric_stats stats;
};
extern struct table mrn_fabric;

static inline uint32_t watch_state(const struct watch *w)
{
	return __atomic_load_n(&w->state, __ATOMIC_ACQUIRE);
}

/* Release: whoever finds it LIVE finds the seq. */
static inline void watch_set(struct watch *w, uint32_t state)
{
	__atomic_store_n(&w->state, state, __ATOMIC_RELEASE);
}

/* Several threads count; no count is exact to the moment. */
#define FABRIC_COUNT(figure) __atomic_fetch_add(&mrn_fabric.stats.figure, 1, __ATOMIC_RELAXED)
/* Of what is counted only under mm_lock: cheaper. */
#define FABRIC_COUNT_LOCKED(figure)                                                       \
	__atomic_store_n(&mrn_fabric.stats.figure,                                        \
			 __atomic_load_n(&mrn_fabric.stats.figure, __ATOMIC_RELAXED) + 1, \
			 __ATOMIC_RELAXED)

/* 0 or -ENOMEM. The table is for this process, and for good. */
int mrn_fabric_table_init(unsigned int nr);
void mrn_fabric_table_undo(void);

/* Has the range of a LIVE watch changed, as far as is known already? A hint: false promises nothing. */
bool mrn_fabric_has_changed(struct watch *w);

/* libfabric's questions, which it asks with mm_lock held. */
bool mrn_fabric_valid(uintptr_t addr, size_t length);
bool mrn_fabric_accept(uintptr_t addr, size_t length);

/* Watches a range that this thread is about to pin. Without libfabric's locks. */
void mrn_fabric_begin(uintptr_t addr, size_t length);

/* For the reaper: takes w, which it has made BUSY under the lock, out of libfabric's caches and the table. */
void mrn_fabric_drop(struct watch *w);

/* Wakes the reaper. On the event path, too. */
void mrn_fabric_ring(void);
/* Starts it, once: 0 or -EAGAIN. It does not end. */
int mrn_fabric_reaper_start(void);

extern const struct mmu_range_notifier_ops mrn_fabric_notifier_ops;

#endif
