/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The protocol under the names that Linux has for it since 5.5: a kernel driver's use of
 * <linux/mmu_notifier.h> compiles with its include changed. Signatures are those of Linux 6.3 and
 * later. docs/porting.md has the same as one table.
 *
 * All of it is macros and inline functions over <mrn/mmu_notifier.h>; both sets of names can be mixed,
 * since the structures are the same ones. Where nothing is said, a function does what its
 * counterpart does there: same contexts, same guarantees.
 *
 *	struct mm_struct			struct mrn_mm
 *	struct mmu_interval_notifier		struct mmu_range_notifier
 *	struct mmu_interval_notifier_ops	struct mmu_range_notifier_ops
 *	struct mmu_interval_notifier_finish	struct mmu_range_notifier_finish
 *	mmu_interval_set_seq			mmu_range_notifier_update_seq
 *	mmu_interval_read_begin			mmu_range_read_begin
 *	mmu_interval_read_retry			mmu_range_read_retry
 *	mmu_interval_check_retry		mmu_range_check_retry
 *	mmu_notifier_register, _unregister, _get: see below; with this header, the kernel's contract
 *
 * Include it before any header that declares one of these structures: they are renamed by macros.
 *
 * As in the kernel, and declared in <mrn/mmu_notifier.h>: enum mmu_notifier_event with the kernel's
 * enumerators, MMU_NOTIFIER_RANGE_BLOCKABLE, struct mmu_notifier_range (mm, start, end, flags, event,
 * owner), mmu_notifier_range_init, mmu_notifier_range_blockable, struct mmu_notifier (ops, mm) and
 * struct mmu_notifier_ops (release, invalidate_range_start, invalidate_range_end, alloc_notifier,
 * free_notifier). With these differences:
 *
 *  - Callbacks run inside somebody's munmap or free in this process. The kernel's may free, and
 *    allocate without waiting; here neither, nor take a lock under which anybody does.
 *  - Changes of the process's own memory (mrn_mm_self) are announced by a source, and some only where it watches: insert
 *    with mrn_range_notifier_insert there, and call mmu_interval_read_begin before each use of what is kept, too
 *    (<mrn/source.h>).
 *  - A notifier's mm is set from insert or register to removal, and NULL afterwards; free_notifier
 *    finds it NULL.
 *  - A mm_struct is not counted: nothing to mmgrab or mmget, each notifier keeps its mm's memory. An mm
 *    that has ended makes insert and register fail (-ESRCH) and every read collide.
 *  - An ops with invalidate and invalidate_start has one pass, by invalidate; Linux takes invalidate_start then. A finish's
 *    link is called next, and is private.
 *  - invalidate_range_start's result in a blockable range is ignored, without a warning.
 *  - mmu_notifier_put returns 0 or -errno instead of nothing. After the last put, free_notifier is
 *    called in a thread of the library's own, or inside synchronize or mrn_mm_destroy; not by a callback of
 *    RCU, and not inside put. release is not called by put, as in the kernel.
 *  - mmu_notifier_synchronize takes the mm. There is no list of all mms to wait for, so a call without
 *    an argument does not compile.
 *  - mmu_notifier_invalidate_range_start returns 0 or -errno instead of nothing, and must not be
 *    followed by end after an error. Its nonblocking form undoes the whole start when it fails; end
 *    must not be called then either.
 *
 * Left out, because it could not mean the same; a use of it does not compile:
 *
 *  - ops of a secondary MMU: clear_flush_young, clear_young, test_young, change_pte, invalidate_range,
 *    arch_invalidate_secondary_tlbs. User space has no access bits and no TLB to share.
 *  - mm_has_notifiers, mmu_notifier_call_srcu, mmu_notifier_unregister_no_release,
 *    mmu_notifier_range_update_to_read_only, mmu_notifier_invalidate_range, the _notify macros for
 *    page table entries.
 *  - mmu_notifier_range.vma and .migrate_pgmap_owner of older kernels (the latter is owner now), and
 *    the vma argument of mmu_notifier_range_init.
 *  - Private fields: interval_tree, invalidate_seq, hlist, users, rcu. A driver that reads
 *    interval_tree.start and .last calls mmu_interval_notifier_start and _last.
 *  - current->mm, mmap_lock, struct page and the rest of the kernel. mrn_mm_self() is this process's.
 */
#ifndef MRN_LINUX_MMU_NOTIFIER_H
#define MRN_LINUX_MMU_NOTIFIER_H

#include <errno.h>
#include <limits.h>
#include <mrn/mmu_notifier.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * The kernel's sequence numbers and addresses are unsigned long, and a callback declared with that
 * has to be one declared with uint64_t: no cast could make it so.
 */
#if ULONG_MAX != UINT64_MAX || ULONG_MAX != UINTPTR_MAX
#error "the kernel's names need an unsigned long of 64 bits"
#elif !defined(__cplusplus)
_Static_assert(_Generic((uint64_t)0, unsigned long : 1, default : 0) &&
		       _Generic((uintptr_t)0, unsigned long : 1, default : 0),
	       "the kernel's names need uint64_t and uintptr_t to be unsigned long");
#endif

#define mm_struct		     mrn_mm
#define mmu_interval_notifier	     mmu_range_notifier
#define mmu_interval_notifier_ops    mmu_range_notifier_ops
#define mmu_interval_notifier_finish mmu_range_notifier_finish

/*
 * For calls whose result the kernel's callers cannot look at, and after which they free the notifier:
 * going on would be a use after free.
 */
static inline void mrn_linux_check_removed(int r, const char *who, size_t len)
{
	static const char what[] = ": the notifier cannot be removed here (from a callback?)\n";

	/* -ENOENT: it is not inserted. -ESTALE: it is a forked child's copy. Neither is called back. */
	if (r == 0 || r == -ENOENT || r == -ESTALE)
		return;
	if (write(STDERR_FILENO, who, len) < 0 || write(STDERR_FILENO, what, sizeof(what) - 1) < 0)
		abort();
	abort();
}

/* ---------------------------------------------------------------------------- interval notifiers */

/*
 * Initialises *interval_sub, which may hold anything before but must not be inserted, and inserts it
 * over [start, start + length) of mm, rounded outwards to OS pages. The kernel does not round: here
 * invalidate may be called for a range that shares no more than a page with what was asked for.
 *
 * mmu_range_notifier_insert differs: it wants zeroed memory, knows a notifier that is inserted already
 * (-EBUSY), and leaves events and driver_lock as they were set. They are 0 here.
 *
 * Errors: -EOVERFLOW for length 0, a range that wraps or one that has the last page of all; -ESRCH
 * when mm has ended (the kernel warns and says -EINVAL); -EINVAL without mm or ops; -EDEADLK from a
 * callback; -ESTALE in a forked child. Never -ENOMEM or -EINTR. After an error, removing it does
 * nothing. Allocates nothing, and does not block, also while an invalidation is in progress.
 */
static inline int mmu_interval_notifier_insert(struct mmu_interval_notifier *interval_sub,
					       struct mm_struct *mm, unsigned long start,
					       unsigned long length,
					       const struct mmu_interval_notifier_ops *ops)
{
	memset(interval_sub, 0, sizeof(*interval_sub));
	if (!length)
		return -EOVERFLOW;
	interval_sub->ops = ops;
	return mmu_range_notifier_insert(interval_sub, start, length, mm);
}

/* The same: there is no mmap_lock that the caller could hold. */
static inline int mmu_interval_notifier_insert_locked(struct mmu_interval_notifier *interval_sub,
						      struct mm_struct *mm, unsigned long start,
						      unsigned long length,
						      const struct mmu_interval_notifier_ops *ops)
{
	return mmu_interval_notifier_insert(interval_sub, mm, start, length, ops);
}

/*
 * What the kernel's drivers read as interval_tree.start and .last: the first and the last byte of the range, rounded
 * outwards to OS pages. Until it is inserted anew; 0, before its first insertion, of a notifier in zeroed memory, and its last
 * byte then means nothing.
 */
static inline unsigned long mmu_interval_notifier_start(
	const struct mmu_interval_notifier *interval_sub)
{
	return __atomic_load_n(&interval_sub->node.start, __ATOMIC_RELAXED);
}

static inline unsigned long mmu_interval_notifier_last(
	const struct mmu_interval_notifier *interval_sub)
{
	return __atomic_load_n(&interval_sub->node.end, __ATOMIC_RELAXED) - 1;
}

/*
 * Removes it: no callback runs or will run. Waits for those that run on it, and for a finish that it is owed; the kernel
 * waits for every invalidation in progress. Not with the driver lock held. From a callback it would
 * wait for itself: the kernel hangs, this aborts. A callback that has no further use for its notifier
 * calls mrn_range_notifier_remove_async.
 */
static inline void mmu_interval_notifier_remove(struct mmu_interval_notifier *interval_sub)
{
	static const char who[] = "mmu_interval_notifier_remove";

	mrn_linux_check_removed(mmu_range_notifier_remove(interval_sub), who, sizeof(who) - 1);
}

/*
 * Begins a read. Where waiting would never end, it returns 0, which every read_retry rejects: inside
 * an invalidation that this thread has started (the kernel hangs), after the mm's end and in a forked
 * child. So a fault loop needs a limit, of time or of rounds; mrn_range_read_begin_until, instead,
 * takes a deadline and says why.
 */
static inline unsigned long mmu_interval_read_begin(struct mmu_interval_notifier *interval_sub)
{
	return mmu_range_read_begin(interval_sub);
}

/* Under the driver lock: did an invalidation collide since the read_begin that returned seq? */
static inline bool mmu_interval_read_retry(struct mmu_interval_notifier *interval_sub,
					   unsigned long seq)
{
	return mmu_range_read_retry(interval_sub, seq);
}

/* The same as a hint, without the lock: true is certain, false promises nothing. */
static inline bool mmu_interval_check_retry(struct mmu_interval_notifier *interval_sub,
					    unsigned long seq)
{
	return mmu_range_check_retry(interval_sub, seq);
}

/* Only in invalidate or invalidate_start, under the driver lock. cur_seq is a number of this invalidation alone. */
static inline void mmu_interval_set_seq(struct mmu_interval_notifier *interval_sub,
					unsigned long cur_seq)
{
	mmu_range_notifier_update_seq(interval_sub, cur_seq);
}

/* ---------------------------------------------------------------------------------------- ranges */

/* As mmu_notifier_range_init, and sets the owner. */
static inline void mmu_notifier_range_init_owner(struct mmu_notifier_range *range,
						 enum mmu_notifier_event event, unsigned int flags,
						 struct mm_struct *mm, unsigned long start,
						 unsigned long end, void *owner)
{
	mmu_notifier_range_init(range, event, flags, mm, start, end);
	range->owner = owner;
}

/* -------------------------------------------------------------------------------- list notifiers */

/* What the macros below stand for; not to be called directly. */
static inline int mrn_linux_notifier_register(struct mmu_notifier *subscription,
					      struct mm_struct *mm)
{
	const struct mmu_notifier_ops *ops = subscription->ops;

	memset(subscription, 0, sizeof(*subscription));
	subscription->ops = ops;
	return mmu_notifier_register(subscription, mm);
}

static inline void mrn_linux_notifier_unregister(struct mmu_notifier *subscription,
						 struct mm_struct *mm)
{
	static const char who[] = "mmu_notifier_unregister";

	mrn_linux_check_removed(mmu_notifier_unregister(subscription, mm), who, sizeof(who) - 1);
}

static inline struct mmu_notifier *mrn_linux_notifier_get(const struct mmu_notifier_ops *ops,
							  struct mm_struct *mm)
{
	struct mmu_notifier *subscription = NULL;
	int r = mmu_notifier_get(ops, mm, &subscription);

	return r ? (struct mmu_notifier *)(intptr_t)r : subscription;
}

/*
 * int mmu_notifier_register(struct mmu_notifier *subscription, struct mm_struct *mm)
 * int __mmu_notifier_register(struct mmu_notifier *subscription, struct mm_struct *mm)
 *
 * Registers it; both forms are the same, for want of an mmap_lock. Of *subscription only ops need be
 * set, the rest may hold anything; it must not be registered. Blocks until the invalidations in
 * progress have ended, as the kernel's does by taking all the mm's locks.
 *
 * Errors: -ESRCH when mm has ended; -EDEADLK from a callback, or inside an invalidation that this thread
 * has started; -EINVAL without mm or ops; -ESTALE in a forked child. Never -ENOMEM or -EINTR.
 */
#define mmu_notifier_register(subscription, mm)	  mrn_linux_notifier_register(subscription, mm)
#define __mmu_notifier_register(subscription, mm) mrn_linux_notifier_register(subscription, mm)

/*
 * void mmu_notifier_unregister(struct mmu_notifier *subscription, struct mm_struct *mm)
 *
 * Calls release, if the mm's end has not, and returns when no callback runs or will run. From a
 * callback, where the kernel hangs, and for a notifier of mmu_notifier_get, it aborts.
 */
#define mmu_notifier_unregister(subscription, mm) mrn_linux_notifier_unregister(subscription, mm)

/*
 * struct mmu_notifier *mmu_notifier_get(const struct mmu_notifier_ops *ops, struct mm_struct *mm)
 * struct mmu_notifier *mmu_notifier_get_locked(...)
 *
 * Returns the notifier of ops for mm, or an error in a pointer: -errno as an address, which is what
 * the kernel's IS_ERR and PTR_ERR take apart. Errors: those of register; what alloc_notifier
 * returns as such, -ENOMEM for NULL. alloc_notifier's memory need not be zeroed; get sets ops.
 */
#define mmu_notifier_get(ops, mm)	 mrn_linux_notifier_get(ops, mm)
#define mmu_notifier_get_locked(ops, mm) mrn_linux_notifier_get(ops, mm)

#endif
