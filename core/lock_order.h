/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The order of driver locks and invalidations. A callback takes its notifier's driver lock; so who holds that lock must not
 * start an invalidation that blocks, nor wait for one, in the same mm. Both orders in one program are a deadlock that
 * takes two threads and bad luck, or one thread and the wrong range. The check needs neither: each mm knows the driver
 * locks of its notifiers, and whoever may start or wait is asked whether it owns one of them.
 *
 * A checking build always looks, and aborts. A release build looks if the environment has MRN_LOCK_ORDER=1; it reports each
 * lock once, and goes on.
 *
 * Left out, since none of them need wait: an invalidation that may not block, or that has an owner, whose callback skips its
 * own; an event that no notifier with the lock wants; and recursive mutexes.
 */
#ifndef MRN_CORE_LOCK_ORDER_H
#define MRN_CORE_LOCK_ORDER_H

#include <mrn/mmu_notifier.h>

#include "core/check.h"

/* Driver locks that an mm knows at the same time. With more, the last ones are not checked. */
#define MRN_DRIVER_LOCKS 64

/* Written under the mm's mutex writing; read, and the mutex looked at, in a section of the mm. */
struct mrn_driver_lock {
	pthread_mutex_t *lock; /* or NULL */
	/* Notifiers that have it: at most as many as are inserted, so while it is known it is there. */
	unsigned int notifiers;
	unsigned int events; /* of which they want to be told, a bit for each */
	uintptr_t callback;  /* of the first of them */
	uintptr_t taken;     /* where a callback has called update_seq, and so held it; or 0 */
};

/* In an mm. */
struct mrn_lock_order {
	unsigned int used; /* so many have ever been known at the same time: the first ones */
	struct mrn_driver_lock known[MRN_DRIVER_LOCKS];
};

/* MRN_LOCK_ORDER=1. */
extern bool mrn_lock_order_is_asked;

static inline bool mrn_lock_order_is_on(void)
{
	return (MRN_CHECKS && !MRN_BROKEN(MISUSE_CHECKS)) ||
	       __builtin_expect(mrn_lock_order_is_asked, 0);
}

/* With the mm's mutex writing held, once for each insertion and removal. drop comes before the removal's grace. */
void mrn_lock_order_add(struct mrn_mm *mm, const struct mmu_range_notifier *mrn);
void mrn_lock_order_drop(struct mrn_mm *mm, const struct mmu_range_notifier *mrn);

/*
 * The event path. Each reports a driver lock that this thread holds, and that it is about to wait for in a way: in an
 * invalidation, a read or a removal that blocks. who is the function that was called, and caller where.
 */
void mrn_lock_order_start(const struct mmu_notifier_range *range, const void *caller);
void mrn_lock_order_read(const struct mmu_range_notifier *mrn, const char *who, const void *caller);
/* Of whoever might start an invalidation of any memory of mm, or wait for one; of none if mm is NULL. */
void mrn_lock_order_might(struct mrn_mm *mm, const char *who, const void *caller);
/* Of a notifier that is being removed from mm: it waits for other notifiers' callbacks only if it has two passes. */
void mrn_lock_order_remove(const struct mmu_range_notifier *mrn, struct mrn_mm *mm,
			   const void *caller);

/* A callback of mrn, which has a driver lock, holds it at caller. */
void mrn_lock_order_taken(const struct mmu_range_notifier *mrn, const void *caller);

#endif
