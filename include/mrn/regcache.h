/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The registration cache: registrations of memory with a device, kept for the next use, and never
 * handed out once the memory under them has changed.
 *
 * An entry covers whole OS pages. A hit is an entry that covers the requested range with the requested access. An
 * invalidated entry that is in use stays registered until its last put and is never handed out again. Only the callback
 * of an entry's notifier runs on the event path. It marks, counts and queues; get, put, reap, flush and destroy
 * deregister.
 *
 * Cancellation (pthread_cancel) is held off while one of these functions waits or runs the consumer's functions: the
 * function finishes, and the request acts at the thread's next cancellation point. This holds for deferred
 * cancellation, the default; do not call these functions with asynchronous cancellation enabled.
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

/* A registration that the caller holds. Read-only, except that register_range sets handle. */
struct mrn_regcache_entry {
	uintptr_t addr; /* OS-page aligned */
	size_t length;	/* bytes, whole pages */
	unsigned int access;
	union {
		uint64_t u64;
		void *ptr;
	} handle; /* the consumer's: what register_range made */
};

/* Both functions must return: do not leave them by longjmp, an exception or pthread_exit. */
struct mrn_regcache_ops {
	/*
	 * Registers entry's range with the device and sets entry->handle. 0, or -errno with nothing left behind;
	 * -ENOMEM and -ENOSPC make the cache evict an idle entry and try again. Several threads may run it at once. May
	 * block and allocate; must not call into the cache.
	 */
	int (*register_range)(void *ctx, struct mrn_regcache_entry *entry);
	/*
	 * Undoes it, exactly once, in whichever thread is in the cache. May block and allocate. Cannot fail: if the
	 * device refuses, the consumer keeps the handle, does not reuse it, and tries again later.
	 */
	void (*deregister_range)(void *ctx, struct mrn_regcache_entry *entry);
};

/* mrn_regcache_opts.flags: a miss that overlaps entries registers one range in their place. */
#define MRN_REGCACHE_MERGE (1u << 0)

struct mrn_regcache_opts {
	size_t size; /* sizeof(struct mrn_regcache_opts) */
	/* Watches this process's memory; must outlive the cache. Or NULL, with an mm. */
	struct mrn_source *source;
	/* An mm whose owner announces every change. NULL with a source. */
	struct mrn_mm *mm;
	uint64_t need; /* coverage bits; 0 means MRN_COVER_PAGES */
	const struct mrn_regcache_ops *ops;
	void *ctx;		  /* passed to ops */
	unsigned int max_entries; /* registrations at one time, in use or idle; 0 means 1024 */
	size_t max_bytes;	  /* of all registrations at one time; 0 means no limit */
	unsigned int flags;
	char *why; /* receives one sentence when create fails; or NULL */
	size_t why_size;
};

/*
 * Creates a cache. ops and ctx must outlive it.
 *
 * Errors: -EINVAL, also for a source that does not watch mm; -E2BIG (size); -ENOMEM; -EOPNOTSUPP when source does
 * not cover a cause in need; -ENOTCONN when source has been detached; -ESTALE in a forked child when mm or source is its parent's; why
 * explains each of these about mm and source. -EDEADLK from a callback. Allocates; does not block.
 */
int mrn_regcache_create(const struct mrn_regcache_opts *opts, struct mrn_regcache **out);

/*
 * Deregisters everything and frees the cache. In a forked child it frees the child's memory and
 * deregisters nothing.
 *
 * Errors: -EBUSY while an entry is held; -EDEADLK from a callback; -EINVAL. Not from a signal handler.
 */
int mrn_regcache_destroy(struct mrn_regcache *cache);

/*
 * Takes a registration that covers [addr, addr + length) with at least this access; put it when the device is done. A
 * hit takes no lock and writes no shared memory but the entry's own line.
 *
 * Errors, with nothing held and nothing left registered: -EINVAL for length 0, no access or a tagged address;
 * -EOVERFLOW for a range that wraps; -ENOSPC when entries in use exhaust the limits; -EAGAIN when invalidations kept
 * colliding; -EDEADLK from a callback (though a hit that need not wait may succeed), or inside this thread's own
 * invalidation of the range; -ESTALE in a forked child; -ENOTCONN once the source has been detached; and whatever
 * register_range returns, as -EFAULT for unmapped memory. The caller can always go on without a registration.
 */
int mrn_regcache_get(struct mrn_regcache *cache, const void *addr, size_t length,
		     unsigned int access, const struct mrn_regcache_entry **out);

/*
 * Releases an entry. The last put of an invalidated entry deregisters it; in a callback, it leaves that to a later
 * call. Not from a signal handler.
 *
 * Errors: -EINVAL for an entry that is not held, where the cache can tell; -ESTALE in a forked child.
 */
int mrn_regcache_put(const struct mrn_regcache_entry *entry);

/* Deregisters invalidated idle entries. Blocks. Errors: -EDEADLK, -ESTALE, -EINVAL. */
int mrn_regcache_reap(struct mrn_regcache *cache);

/*
 * Deregisters every idle entry, and invalidates those in use. Memory without an entry is then unwatched, so a
 * UFFDIO_REGISTER of it that no source sees succeeds; while an entry is there, it fails with EBUSY. Errors as reap.
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
	uint64_t invalidations_by[MRN_MAX_CAUSES];
	uint64_t entries;	 /* registered now */
	uint64_t entries_in_use; /* of them, held */
	uint64_t bytes_pinned;	 /* by all entries registered now */
	uint64_t use_once_full;	 /* of use_once: for lack of mappings (vm.max_map_count) */
};

/* Fills *stats, size bytes. Each figure is exact; they are not read at one instant. Errors: -EINVAL, -ESTALE. */
int mrn_regcache_get_stats(struct mrn_regcache *cache, struct mrn_regcache_stats *stats,
			   size_t size);

#ifdef __cplusplus
}
#endif

#endif
