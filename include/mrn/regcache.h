/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registration cache: registrations of memory with a device, kept for the next use, and never
 * handed out once the memory under them has changed.
 *
 * An entry covers whole OS pages. A hit is an entry that covers the range asked for with the access
 * asked for. An invalidated entry that is in use stays registered until its last put and is never
 * handed out again. Nothing but the callback of an entry's notifier runs on the event path; it marks,
 * counts and queues, and deregistrations happen in get, put and reap.
 *
 * Cancellation (pthread_cancel) is held off while one of these functions waits or is in a function of the consumer's: it
 * does its work and returns, and the request acts at the thread's next cancellation point. For deferred
 * cancellation, the usual kind; none of these functions may be called with asynchronous cancellation on.
 */
#ifndef MRN_REGCACHE_H
#define MRN_REGCACHE_H

#include <mrn/mmu_notifier.h>
#include <mrn/source.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mrn_regcache;

/* What the device may do with the memory. */
#define MRN_ACCESS_READ	 (1u << 0)
#define MRN_ACCESS_WRITE (1u << 1)

/* A registration that somebody holds. Read-only to all but register_range, which sets handle. */
struct mrn_regcache_entry {
	uintptr_t addr; /* OS-page aligned */
	size_t length;	/* bytes, whole pages */
	unsigned int access;
	union {
		uint64_t u64;
		void *ptr;
	} handle; /* the consumer's: what register_range made */
};

/* These two must return: no longjmp, no exception, no pthread_exit out of them. */
struct mrn_regcache_ops {
	/*
	 * Registers entry's range with the device and sets entry->handle. 0, or -errno with nothing
	 * left behind; -ENOMEM and -ENOSPC make the cache evict an idle entry and try again. Several
	 * threads may be in it at once. May block and allocate; must not call into the cache.
	 */
	int (*register_range)(void *ctx, struct mrn_regcache_entry *entry);
	/*
	 * Undoes it, exactly once, in whichever thread is in the cache then. May block and allocate. Cannot fail: what a
	 * device refuses to release is the consumer's to keep, its handle to be used for nothing else, and to try again.
	 */
	void (*deregister_range)(void *ctx, struct mrn_regcache_entry *entry);
};

/* mrn_regcache_config.flags: a miss that overlaps entries registers one range in their place. */
#define MRN_REGCACHE_MERGE (1u << 0)

struct mrn_regcache_config {
	size_t size; /* sizeof(struct mrn_regcache_config) */
	struct mrn_mm *mm;
	struct mrn_source *source; /* who watches mm; must outlive the cache. Always with
				      mrn_mm_self(), and only with it: NULL for an mm whose owner
				      announces every change itself */
	uint64_t need;		   /* coverage bits; 0 means MRN_COVER_PAGES */
	const struct mrn_regcache_ops *ops;
	void *ctx;		  /* handed to ops */
	unsigned int max_entries; /* registrations at one time, in use or idle; 0 means 1024 */
	size_t max_bytes;	  /* of all registrations at one time; 0 means no limit */
	unsigned int flags;
	char *why; /* where to put one sentence when create fails; or NULL */
	size_t why_size;
};

/*
 * Creates a cache. ops and ctx must outlive it.
 *
 * Errors: -EINVAL, also for a source that does not watch mm; -ENOMEM; -EOPNOTSUPP when source does not cover a
 * cause in need; -ENOTCONN when source has been detached; -ESTALE when mm or source is a parent's, in a forked child;
 * each of these named in why. -EDEADLK from a callback. Allocates; does not block.
 */
int mrn_regcache_create(const struct mrn_regcache_config *config, struct mrn_regcache **out);

/*
 * Deregisters everything and frees the cache. In a forked child it frees the child's memory and
 * deregisters nothing.
 *
 * Errors: -EBUSY while an entry is held; -EDEADLK from a callback; -EINVAL. Not from a signal handler.
 */
int mrn_regcache_destroy(struct mrn_regcache *cache);

/*
 * Takes a registration that covers [addr, addr + length) with at least this access; the caller puts
 * it when the device is done. A hit takes no lock and writes nothing shared but the reference.
 *
 * Errors, with nothing held and nothing left registered: -EINVAL for length 0, no access or a tagged address;
 * -EOVERFLOW for a range that wraps; -EFAULT for unmapped memory; -ENOSPC when the limits are used up
 * by entries in use; -EAGAIN when invalidations kept colliding; -EDEADLK from a callback, but perhaps not
 * for a hit that waits for nobody, or inside an invalidation of this range by this thread; -ESTALE in a
 * forked child; -ENOTCONN once the source has been detached; and whatever register_range returns. A caller
 * may always do without registration.
 */
int mrn_regcache_get(struct mrn_regcache *cache, const void *addr, size_t length,
		     unsigned int access, const struct mrn_regcache_entry **out);

/*
 * Gives it back. The last put of an invalidated entry deregisters it; in a callback, where that is
 * not possible, it is left to the next call that can. Not from a signal handler.
 *
 * Errors: -EINVAL for an entry that is not held, where that can be told; -ESTALE in a forked child.
 */
int mrn_regcache_put(const struct mrn_regcache_entry *entry);

/* Deregisters what has been invalidated and is idle. Blocks. Errors: -EDEADLK, -ESTALE, -EINVAL. */
int mrn_regcache_reap(struct mrn_regcache *cache);

/*
 * Deregisters every idle entry, and invalidates those in use. What was idle is not watched any more: a UFFDIO_REGISTER of that
 * memory that no source sees, which fails with EBUSY while an entry is there, succeeds. Errors as reap.
 */
int mrn_regcache_flush(struct mrn_regcache *cache);

struct mrn_regcache_stats {
	uint64_t hits;
	uint64_t misses;	  /* gets that found nothing */
	uint64_t registrations;	  /* calls of register_range that succeeded */
	uint64_t deregistrations; /* calls of deregister_range */
	uint64_t retries;	  /* registrations thrown away for a collision */
	uint64_t failures;	  /* gets that returned an error */
	uint64_t evictions;	  /* idle entries that made room */
	uint64_t use_once;	  /* entries that could not be kept */
	uint64_t invalidations;	  /* entries invalidated */
	uint64_t invalidations_by[MRN_NR_CAUSES];
	uint64_t entries;	 /* registered now */
	uint64_t entries_in_use; /* of them, held */
	uint64_t bytes_pinned;	 /* of all registered now */
	uint64_t use_once_full;	 /* of use_once: for want of mappings (vm.max_map_count) */
};

/* Fills *stats; a moment's figures are each right, but not of one moment. Does not block. */
int mrn_regcache_get_stats(struct mrn_regcache *cache, struct mrn_regcache_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
