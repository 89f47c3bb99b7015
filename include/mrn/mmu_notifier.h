/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MMU range notifiers for user space: the protocol.
 *
 * A *shadow* is whatever a consumer has built from an address space's translations: a pinned
 * registration, a device page table, a cached list of frames. An *mm* is an address space whose
 * changes are announced. An *invalidation* is the time between start and end in which the
 * translations of a range may change. The *driver lock* is the consumer's own: it is held to check
 * for a collision and publish a shadow, and it is held by the invalidate callback.
 *
 *	again:	seq = mmu_range_read_begin(&mrn);
 *		pin or fault the pages			(speculative, no lock held)
 *		pthread_mutex_lock(&driver_lock);
 *		if (mmu_range_read_retry(&mrn, seq)) {
 *			pthread_mutex_unlock(&driver_lock);
 *			undo;
 *			goto again;
 *		}
 *		publish the shadow
 *		pthread_mutex_unlock(&driver_lock);
 *
 * For an mm whose owner announces all that it does, insert with mmu_range_notifier_insert. Changes of this process's own
 * memory (mrn_mm_self) are announced by a source, and some only where it watches: insert with
 * mrn_range_notifier_insert, <mrn/source.h>. The rest is the same.
 *
 * The guarantees A1-A6 and P1-P5 that the comments cite stand at the top of core/mmu_notifier.c.
 *
 * Structures that grow. Options (struct mrn_..._opts) begin with their size: set .size = sizeof(the structure) and the rest
 * to zero but for what you want. A library of a later version takes what is missing for zero; one of an earlier version
 * refuses, with -E2BIG, what it lacks and you have set. Figures are given with their size, too: what is missing is left
 * out, what the library lacks is zero. The members why and why_size say where a call that fails may put one sentence.
 *
 * Conventions. Functions return 0 or -errno. Addresses are bytes; ranges are half open. A *callback*
 * is any function in the ops structures below, except where it says otherwise. It has to return: longjmp, a C++
 * exception or pthread_exit out of one, or out of a free function, is forbidden, and the last two abort the process;
 * cancellation is held off until it has returned. "Blocks" means: may
 * wait for another thread to make progress; short internal locks do not count.
 */
#ifndef MRN_MMU_NOTIFIER_H
#define MRN_MMU_NOTIFIER_H

#include <mrn/deferred.h>
#include <mrn/index_entry.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mrn_mm;
struct mmu_notifier;
struct mmu_range_notifier;

/* What happens to the translations. The kernel's names. */
enum mmu_notifier_event {
	MMU_NOTIFY_UNMAP,	    /* the mapping goes away, or is moved away */
	MMU_NOTIFY_CLEAR,	    /* the pages are replaced, the mapping stays */
	MMU_NOTIFY_PROTECTION_VMA,  /* access rights of the whole mapping change */
	MMU_NOTIFY_PROTECTION_PAGE, /* access rights of some pages change */
	MMU_NOTIFY_SOFT_DIRTY,	    /* write tracking */
	MMU_NOTIFY_RELEASE,	    /* the mm ends: every translation goes away for good */
	MMU_NOTIFY_MIGRATE,	    /* pages move to or from a device; owner names it */
	MMU_NOTIFY_EXCLUSIVE,	    /* a device wants exclusive access; owner names it */
};

/* Why it happens: which call, by this process, changed the translations. Later versions add causes at the end. */
enum mrn_cause {
	MRN_CAUSE_UNKNOWN = 0,		 /* announced by hand, or more than one cause at once */
	MRN_CAUSE_MUNMAP = 1,		 /* munmap */
	MRN_CAUSE_MAP_FIXED = 2,	 /* mmap(MAP_FIXED) over a mapping */
	MRN_CAUSE_MREMAP_SRC = 3,	 /* mremap: the old range, moved or shrunk */
	MRN_CAUSE_MREMAP_DST = 4,	 /* mremap(MREMAP_FIXED): what was at the new range */
	MRN_CAUSE_DONTNEED = 5,		 /* madvise(MADV_DONTNEED) */
	MRN_CAUSE_DONTNEED_LOCKED = 6,	 /* madvise(MADV_DONTNEED_LOCKED) */
	MRN_CAUSE_FREE = 7,		 /* madvise(MADV_FREE) */
	MRN_CAUSE_REMOVE = 8,		 /* madvise(MADV_REMOVE) */
	MRN_CAUSE_MADVISE = 9,		 /* any other advice that may change translations */
	MRN_CAUSE_BRK = 10,		 /* brk or sbrk to a lower address */
	MRN_CAUSE_SHMDT = 11,		 /* shmdt */
	MRN_CAUSE_SHMAT_REMAP = 12,	 /* shmat(SHM_REMAP) over a mapping */
	MRN_CAUSE_REMAP_FILE_PAGES = 13, /* remap_file_pages */
	MRN_CAUSE_MPROTECT = 14,	 /* mprotect, pkey_mprotect */
	MRN_CAUSE_FALLOCATE = 15,	 /* fallocate: a hole, a collapse, ... in a mapped file */
	MRN_CAUSE_FTRUNCATE = 16,	 /* ftruncate or truncate of a mapped file */
	MRN_CAUSE_OPEN_TRUNC = 17,	 /* open(O_TRUNC) or creat of a mapped file */
	MRN_CAUSE_FORK = 18,   /* fork: who writes to a page gets a copy, or the child does */
	MRN_CAUSE_EXEC = 19,   /* execve: another program takes this one's place */
	MRN_CAUSE_DETACH = 20, /* the source that watched the range stopped watching it */
	MRN_CAUSE_OTHER = 21,  /* userfaultfd's ioctls, TCP's zero-copy receive, io_destroy */
	MRN_NR_CAUSES
};

/* Arrays by cause in structures have this many elements. */
#define MRN_MAX_CAUSES 64

/* One bit per cause, for masks. */
#define MRN_CAUSE_BIT(cause) (UINT64_C(1) << (cause))

/*
 * Returns the name of a cause ("munmap", "map_fixed", ...), a static string; "unknown" for a value
 * out of range. Does not block; may be called from anywhere, a signal handler included.
 */
const char *mrn_cause_name(enum mrn_cause cause);

/* ------------------------------------------------------------------------------------------- mm */

/*
 * Creates an mm that whoever owns it announces by hand, with mmu_notifier_invalidate_range_start
 * and _end: a managed region, a guest, a test. *out is the caller's until mrn_mm_destroy.
 *
 * Errors: -ENOMEM. Does not block. Not from a callback or a signal handler.
 */
int mrn_mm_create(struct mrn_mm **out);

/*
 * Ends an mm: refuses new notifiers (-ESRCH), announces MMU_NOTIFY_RELEASE for all addresses to
 * every notifier and calls every list notifier's release, runs what was queued for deferred
 * freeing (see mrn_range_notifier_remove_async), and drops the caller's reference. Notifiers that are still inserted stay valid memory
 * that their owners must remove as always; each keeps the mm's memory alive until then. A
 * read_begin on one of them fails from now on (-ESRCH, or a seq that every read_retry rejects).
 *
 * Errors: -EINVAL for NULL and for the process's own mm, which never ends; -EDEADLK from a
 * callback; -ESTALE in a forked child, for an mm that its parent made. Blocks until callbacks that
 * are running have returned. The caller sees to it that no start or end on this mm is in progress
 * or follows.
 */
int mrn_mm_destroy(struct mrn_mm *mm);

/*
 * Returns the mm of this process, made at the first call; NULL when there is no memory for it. It is
 * announced by whatever source has been attached to it (<mrn/source.h>), and it never ends. A child
 * after fork gets a fresh one: no notifier and no source of the parent is in it.
 *
 * Does not block. May be called from a callback and from a signal handler.
 */
struct mrn_mm *mrn_mm_self(void);

/* ---------------------------------------------------------------------------------- invalidation */

/* mmu_notifier_range.flags: callbacks may wait. Set by invalidate_range_start, cleared by _nonblock. */
#define MMU_NOTIFIER_RANGE_BLOCKABLE (1u << 0)
/*
 * The change of the translations lies before start, not between start and end: whoever announces it
 * has learnt of it late. Enough for a cache, not for a device that must not touch the range after the
 * change. Set by the announcer.
 */
#define MRN_RANGE_AFTER (1u << 1)
/*
 * For MRN_CAUSE_MADVISE and MRN_CAUSE_OTHER: this call leaves pinned pages where they are, as paging out does. Without it,
 * the call may take any page. Set by the announcer.
 */
#define MRN_RANGE_PINS_STAY (1u << 2)

/*
 * One invalidation. The caller owns the memory, from before start until after end; it may be on the
 * stack, and nobody looks at it once end has returned (P5). Between the two, only read it. Fields below "private" belong
 * to mrn.
 */
struct mmu_notifier_range {
	struct mrn_mm *mm;
	uintptr_t start, end; /* bytes, [start, end) */
	unsigned int flags;
	enum mmu_notifier_event event;
	enum mrn_cause cause;
	void *owner; /* MIGRATE and EXCLUSIVE: the device that asks, so that it can skip its own */
	/* private */
	uint64_t seq, told, started;
	struct mmu_notifier_range *next;
	uint64_t thread;
	int slot;
	bool raised, ending;
};

/*
 * Fills *range for an invalidation of [start, end) of mm; flags is 0 or of MRN_RANGE_*. Set cause and
 * owner afterwards where they apply. Not on a range that is started: that one could not be ended any more. A range
 * that is not filled by this may be taken for anything. Cannot fail: bad values are refused by start. May be called
 * from anywhere.
 */
static inline void mmu_notifier_range_init(struct mmu_notifier_range *range,
					   enum mmu_notifier_event event, unsigned int flags,
					   struct mrn_mm *mm, uintptr_t start, uintptr_t end)
{
	range->mm = mm;
	range->start = start;
	range->end = end;
	range->flags = flags;
	range->event = event;
	range->cause = MRN_CAUSE_UNKNOWN;
	range->owner = (void *)0;
	range->seq = 0;
	range->told = 0;
	range->started = 0;
	range->next = (struct mmu_notifier_range *)0;
	range->thread = 0;
	range->slot = -1;
	range->raised = false;
	range->ending = false;
}

/* May the callbacks of this invalidation wait? When not, they return false or -EAGAIN instead. */
static inline bool mmu_notifier_range_blockable(const struct mmu_notifier_range *range)
{
	return range->flags & MMU_NOTIFIER_RANGE_BLOCKABLE;
}

/*
 * Starts an invalidation: calls every overlapping range notifier, then the finishes that it owes, then every list
 * notifier. When it returns, every shadow of the range that was published before is torn down, and none can be
 * published from translations read before (A1), until end.
 *
 * Errors: -EINVAL for an empty or inverted range, no mm, an event, a cause or flags that there are not; -ESTALE in a
 * forked child for its parent's mm; then nothing has started and end must not be called. -EBUSY for a range that
 * is started already, or a copy of one: that invalidation goes on as it was. Blocks only where a callback
 * does. Allocates nothing, preserves errno, nests within a thread, runs in parallel in many (P4).
 * May be called from a callback (of another range) and from a signal handler, as far as the
 * callbacks that it reaches can bear it.
 */
int mmu_notifier_invalidate_range_start(struct mmu_notifier_range *range);

/*
 * The same, but no callback may wait: one that would have to refuses, and then the whole start is
 * undone as one transaction (A6): every first pass that has handed out a finish gets it, every list notifier that was
 * started is ended, the token is withdrawn and waiters wake.
 *
 * Errors: as start, and -EAGAIN for a refusal. After any error but -EBUSY end must not be called.
 */
int mmu_notifier_invalidate_range_start_nonblock(struct mmu_notifier_range *range);

/*
 * Ends an invalidation that a start which returned 0 began, in the same thread or another. The
 * change of the translations must be complete. Allocates nothing, preserves errno, does not block
 * except where a list notifier's callback does. Without a successful start it does nothing; nor the second time, in
 * whatever thread, nor inside the callbacks of the range's own start.
 *
 * A copy of the range ends it as well, while the one that was started is still there: of the two, the first end is the
 * invalidation's, and the other does nothing.
 */
void mmu_notifier_invalidate_range_end(struct mmu_notifier_range *range);

/*
 * Says that the code which calls this may start an invalidation of any memory of mm here, as an allocator may, whether or
 * not it does so this time. Where the order of locks is checked (docs/embedding.md), a driver lock that this thread holds
 * and that a callback takes is reported; otherwise does nothing, as for NULL. who names the caller in the report.
 *
 * Does not block. May be called from anywhere.
 */
void mrn_might_invalidate(struct mrn_mm *mm, const char *who);

/* ------------------------------------------------------------------------------- range notifiers */

/*
 * A second pass that start owes to a notifier. Embed it, once in each notifier, in what the second pass needs. The memory is
 * the consumer's, and need not be set; it is start's from invalidate_start's return until invalidate_finish is called.
 */
struct mmu_range_notifier_finish {
	struct mmu_range_notifier *notifier; /* whose; set by start */
	/* private */
	struct mmu_range_notifier_finish *next;
};

/* Set invalidate alone; or leave it NULL, and set the other two. */
struct mmu_range_notifier_ops {
	/*
	 * Tear down every shadow within range. Take the driver lock, call
	 * mmu_range_notifier_update_seq(mrn, cur_seq), tear down, drop the lock.
	 *
	 * Return true. Only when !mmu_notifier_range_blockable(range), return false if that would
	 * need to wait; then nothing may have been changed, not even the seq.
	 *
	 * Runs inside somebody's munmap or free, with any of that caller's locks held: do not
	 * allocate or free, do not take a lock that is held around either, do not touch stdio, do
	 * not call insert or remove on any notifier (remove_async may be called). It may run in
	 * several threads at once, and inside a signal handler that interrupted this thread.
	 */
	bool (*invalidate)(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			   uint64_t cur_seq);
	/*
	 * The same in two passes, so that the waits of several devices overlap: start makes every first pass before the
	 * first finish, and every finish before it tells list notifiers. Rules as above for both.
	 *
	 * invalidate_start takes the driver lock, calls mmu_range_notifier_update_seq, and makes the device begin to stop. If it
	 * returns true with *finish set, which is NULL before, invalidate_finish follows in the same thread: also if another
	 * notifier refuses later. Without *finish, it has to tear down all by itself, as invalidate does. Do that when
	 * the finish is in use, by a start in another thread or by one that this one has interrupted: keep a flag, under the
	 * driver lock, from where it is handed out until invalidate_finish takes it back. Do not wait for the flag.
	 *
	 * Only when !mmu_notifier_range_blockable(range), return false, and set no *finish, if either pass would need to wait.
	 * Set none either if it asks for its own removal (mrn_range_notifier_remove_async): from then on other starts do not
	 * wait for this notifier, so its device must have stopped.
	 */
	bool (*invalidate_start)(struct mmu_range_notifier *mrn,
				 const struct mmu_notifier_range *range, uint64_t cur_seq,
				 struct mmu_range_notifier_finish **finish);
	/*
	 * Waits until the device has stopped, and tears down what the first pass has left. From where it takes *finish
	 * back, that may be handed out anew. The notifier is there until it returns, also if its removal has begun.
	 */
	void (*invalidate_finish)(struct mmu_range_notifier_finish *finish);
};

/*
 * One notifier over one range. The caller owns the memory, zeroes it, sets ops (and, where wanted,
 * events and driver_lock), and keeps it until remove has returned or remove_async has called back.
 */
struct mmu_range_notifier {
	const struct mmu_range_notifier_ops *ops;
	/* private: what reading and an invalidation touch is in the first 64 bytes */
	const uint64_t *mm_state;
	uint64_t invalidate_seq, pins;
	/* public: events to be told of, a mask of 1 << MMU_NOTIFY_*; 0 means all. RELEASE always comes. */
	unsigned int events;
	/* private */
	uint32_t watched;
	struct mrn_index_entry node;
	struct mrn_mm *mm;
	/* public */
	/*
	 * Checking builds abort when update_seq or read_retry finds this mutex not held, and when it is held where the
	 * callback, which takes it, may be waited for. Or NULL. Not to be changed, or destroyed, while inserted.
	 */
	pthread_mutex_t *driver_lock;

	/* private */
	struct mrn_deferred deferred;
	union {
		uint64_t need;					 /* until a removal begins */
		void (*free_fn)(struct mmu_range_notifier *mrn); /* of an asynchronous removal */
	};
};

/*
 * Inserts *mrn over [start, start + length), rounded outwards to OS pages, of mm. From its return
 * on, every invalidation that overlaps is either seen by the first read_begin or calls back (A3).
 * A callback may run before insert returns. Never waits for an invalidation (P2).
 *
 * Errors, with *mrn not inserted and nothing to undo: -EINVAL for length 0, no ops, ops without
 * their functions, no mm or events that there are not; -EOVERFLOW for a range that wraps; -EBUSY when *mrn is inserted already, or
 * another thread is just inserting or removing it; -ENOMEM when the kernel has
 * no pages for the index; -ESRCH when mm has ended; -ESTALE in a forked child for its parent's mm;
 * -EDEADLK from a callback. Not from a signal handler. Takes no memory from malloc.
 */
int mmu_range_notifier_insert(struct mmu_range_notifier *mrn, uintptr_t start, uintptr_t length,
			      struct mrn_mm *mm);

/*
 * Removes *mrn, whose shadow the caller has torn down: of one that is left, nobody would be told. When it
 * returns, no callback into *mrn runs or will run (A5), and its memory is the caller's again. Waits only for
 * callbacks that are already running on *mrn itself, for starts that owe it a finish, and so for other notifiers'
 * callbacks before that, and for invalidations that are just looking for whom to call (P2).
 *
 * Errors: -ENOENT when *mrn is not inserted (removed twice, never inserted, or on its way out by
 * remove_async); -EDEADLK from a callback, which would wait for itself: use remove_async;
 * -ESTALE in a forked child for a notifier of its parent, which from then on counts as not
 * inserted. Not from a signal handler, and not with the driver lock held; if *mrn has two passes, not with any lock held
 * that another notifier's callback takes.
 */
int mmu_range_notifier_remove(struct mmu_range_notifier *mrn);

/*
 * Asks for removal, and never waits. No callback into *mrn begins after this has returned; ones that
 * are running may go on. Once they have ended, free_fn(mrn) is called, exactly once; it may free *mrn.
 *
 * Who runs free functions, and mmu_notifier_ops.free_notifier: mmu_notifier_synchronize and mrn_mm_destroy run those of
 * their mm, in their caller's thread, under whatever locks he holds. All others are run by a thread of the library's own,
 * the reaper, which blocks all signals and holds no lock but one that only freeing takes. No other call runs any, with one
 * exception: after mrn_mm_destroy has returned, free_fn is called inside remove_async itself, except in a callback; so
 * from then on not from a signal handler, nor with a lock held that free_fn takes.
 *
 * The reaper is started by mmu_notifier_get; and by mmu_range_notifier_remove, mmu_notifier_unregister and _register when
 * something is queued. It ends a second after there is neither anything queued nor a notifier of get. Without it, where it
 * cannot be started or none of these is called, what is queued waits for synchronize. A forked child has none of its
 * parent's queue, and a reaper of its own. Before code or data that a free function uses goes away, by exit or dlclose,
 * call synchronize.
 *
 * As with remove, the shadow has been torn down before: from then on nobody waits for the device that uses it.
 *
 * Errors: -EINVAL without free_fn, -ENOENT and -ESTALE as remove. May be called from any callback,
 * its own included, and from a signal handler. Allocates nothing.
 */
int mrn_range_notifier_remove_async(struct mmu_range_notifier *mrn,
				    void (*free_fn)(struct mmu_range_notifier *mrn));

/* What the inline functions below fall back to; not to be called directly. */
uint64_t mrn_range_read_begin_slow(struct mmu_range_notifier *mrn, uint64_t seq);
void mrn_check_driver_lock(const struct mmu_range_notifier *mrn, const char *who);
void mrn_check_lock_order(const struct mmu_range_notifier *mrn, const char *who);

/* What mrn_range_read_begin_until returns for a range that cannot be watched, or not now: see mrn_range_notifier_insert. */
#define MRN_USE_ONCE 1

/* *mm_state of an mm that is alive and has no invalidation in progress. */
#define MRN_MM_IDLE UINT64_C(1)

/*
 * Begins a read of mrn's range: returns the seq to check with mmu_range_read_retry. No overlapping
 * invalidation that is still in progress has this seq (A2). Waits for the overlapping invalidations
 * that were in progress when it was called and for no others (P1); takes no lock and writes no
 * shared memory when there are none (P3; with more than 62 invalidations in progress at once, the
 * look at those beyond takes a short lock; the first read after an insertion looks at all, and notes it).
 * A notifier that has been read before need not wait for one that has called nobody yet: it will be called.
 * So to wait for whatever a new notifier may have missed, read that one (A3), not an older one beside it.
 *
 * Returns 0, which every read_retry rejects, where waiting would never end: for an invalidation that
 * this very thread has started (P4), after the mm has ended, and in a forked child. Consumers that
 * may meet these use mrn_range_read_begin_until, which tells them apart.
 *
 * mrn must be inserted. Not with the driver lock held. From a callback only on other notifiers.
 */
static inline uint64_t mmu_range_read_begin(struct mmu_range_notifier *mrn)
{
#ifdef MRN_CHECK
	mrn_check_lock_order(mrn, "mmu_range_read_begin");
#endif
	/* A4: acquires what the callback which stored this seq saw: its own token in mm_state. */
	uint64_t seq = __atomic_load_n(&mrn->invalidate_seq, __ATOMIC_ACQUIRE);

	/* A4: acquire pairs with end's release: a reader that sees no token sees the new translations. */
	const uint64_t *state = __atomic_load_n(&mrn->mm_state, __ATOMIC_ACQUIRE);

	if (__builtin_expect(__atomic_load_n(state, __ATOMIC_ACQUIRE) == MRN_MM_IDLE, 1))
		return seq;
	return mrn_range_read_begin_slow(mrn, seq);
}

/*
 * The same with a deadline: absolute time of CLOCK_MONOTONIC, or NULL for none. *seq is set on
 * success only.
 *
 * Returns 0, or MRN_USE_ONCE, for a notifier of a source only: see mrn_range_notifier_insert.
 * Errors: -EINVAL for a deadline that is no time; -ETIMEDOUT; -EDEADLK when this thread would wait for
 * its own invalidation; -ESRCH when the mm has ended; -ESTALE in a forked child for a notifier of its
 * parent; -ENOENT when mrn is not inserted, or its removal has begun. Another thread may remove mrn meanwhile, and insert
 * it again: the seq is then rejected. The mm has to be there until the call returns.
 */
int mrn_range_read_begin_until(struct mmu_range_notifier *mrn, const struct timespec *deadline,
			       uint64_t *seq);

/*
 * Did an invalidation collide since the read_begin that returned seq? Call with the driver lock
 * held, and publish the shadow before dropping it. When true: drop the lock, undo, begin again.
 * Does not block, writes nothing.
 */
static inline bool mmu_range_read_retry(struct mmu_range_notifier *mrn, uint64_t seq)
{
#ifdef MRN_CHECK
	mrn_check_driver_lock(mrn, "mmu_range_read_retry");
#endif
	/* Relaxed: the driver lock orders this with the callback's store. */
	return __atomic_load_n(&mrn->invalidate_seq, __ATOMIC_RELAXED) != seq;
}

/*
 * A hint, without the lock: true when it is already certain that read_retry will reject seq, so that
 * a long operation can give up early. False promises nothing.
 */
static inline bool mmu_range_check_retry(struct mmu_range_notifier *mrn, uint64_t seq)
{
	return __atomic_load_n(&mrn->invalidate_seq, __ATOMIC_ACQUIRE) != seq;
}

/*
 * Only from invalidate or invalidate_start, with the driver lock held: makes every read that is under way
 * collide. cur_seq is the callback's argument.
 */
static inline void mmu_range_notifier_update_seq(struct mmu_range_notifier *mrn, uint64_t cur_seq)
{
#ifdef MRN_CHECK
	mrn_check_driver_lock(mrn, "mmu_range_notifier_update_seq");
#endif
	/* A4: release pairs with read_begin's load of the seq. */
	__atomic_store_n(&mrn->invalidate_seq, cur_seq, __ATOMIC_RELEASE);
}

/* -------------------------------------------------------------------------------- list notifiers */

/* The classic notifiers, told of every invalidation of the mm. Any of the callbacks may be NULL. */
struct mmu_notifier_ops {
	/*
	 * The mm ends, or the notifier is unregistered. Called once, before unregister returns at the latest. May block:
	 * until it returns, the notifier is told of invalidations, and mrn_mm_destroy waits.
	 */
	void (*release)(struct mmu_notifier *mn, struct mrn_mm *mm);
	/*
	 * An invalidation starts; 0, or -EAGAIN only when !mmu_notifier_range_blockable(range).
	 * For each start that returned 0 there is exactly one end, unless unregister comes between.
	 * Rules as for mmu_range_notifier_ops.invalidate.
	 */
	int (*invalidate_range_start)(struct mmu_notifier *mn,
				      const struct mmu_notifier_range *range);
	void (*invalidate_range_end)(struct mmu_notifier *mn,
				     const struct mmu_notifier_range *range);
	/* For get and put. alloc returns NULL, or -errno in a pointer, when it fails; both may block. */
	struct mmu_notifier *(*alloc_notifier)(struct mrn_mm *mm);
	void (*free_notifier)(struct mmu_notifier *mn);
};

/* The caller owns the memory, zeroes it and sets ops. */
struct mmu_notifier {
	const struct mmu_notifier_ops *ops;
	/* private */
	struct mrn_mm *mm;
	struct mmu_notifier *next;
	struct mrn_deferred deferred;
	uint64_t born, pins;
	uint32_t users;
	uint32_t released;
};

/*
 * Registers *mn for every invalidation of mm that starts after the return; first waits for those in
 * progress, so that starts and ends pair.
 *
 * Errors, with nothing registered: -EINVAL without ops or mm, -EBUSY when registered already or while another thread
 * registers or unregisters it, -ESRCH
 * when mm has ended, -ESTALE in a forked child for its parent's mm, -EDEADLK from a callback or
 * inside an invalidation that this thread has started. Not from a signal handler.
 */
int mmu_notifier_register(struct mmu_notifier *mn, struct mrn_mm *mm);

/*
 * Unregisters *mn, calls its release if the mm's end has not yet done so, and waits for callbacks
 * into *mn that are running; none runs or will run when it returns (A5).
 *
 * Errors: -ENOENT when not registered with mm; -EINVAL for a notifier of mmu_notifier_get, which put
 * takes back; -EDEADLK from a callback; -ESTALE in a forked child for a notifier of its parent,
 * which then counts as not registered. Not from a signal handler.
 */
int mmu_notifier_unregister(struct mmu_notifier *mn, struct mrn_mm *mm);

/*
 * Finds the notifier that an earlier get with the same ops made for mm, or makes one with
 * ops->alloc_notifier and registers it; either way takes a reference that put drops. The caller
 * serialises gets and puts of one ops on one mm against each other only where it needs a unique
 * notifier: concurrent first gets agree on one.
 *
 * Errors: those of register; -ENOMEM when alloc_notifier returns NULL, or what it
 * returns as an error in a pointer; -EINVAL without alloc_notifier or free_notifier.
 */
int mmu_notifier_get(const struct mmu_notifier_ops *ops, struct mrn_mm *mm,
		     struct mmu_notifier **out);

/*
 * Drops a reference of get. With the last, no callback into *mn begins any more, and once those that
 * run have ended, ops->free_notifier(mn) is called, exactly once, as for remove_async, but never inside put. Never waits.
 *
 * Errors: -EINVAL for a notifier that get did not make or whose references are all gone; -ESTALE in
 * a forked child. May be called from a callback.
 */
int mmu_notifier_put(struct mmu_notifier *mn);

/*
 * Waits until everything that was removed asynchronously from mm before the call has been freed;
 * frees it itself, in this thread, where nobody has. Not with a lock held that a free function of this mm takes; nor, if a
 * notifier with two passes is among them, with one that any callback takes: it waits for what a start calls between them.
 *
 * Errors: -EDEADLK from a callback or a free function; -EINVAL; -ESTALE.
 */
int mmu_notifier_synchronize(struct mrn_mm *mm);

#ifdef __cplusplus
}
#endif

#endif
