/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/lock_order.h"

#include <stdlib.h>
#include <string.h>

#include "core/order_report.h"
#include "core/slot.h"
#include "os/holder.h"

#include "os/event_path.h"

#define ALL_EVENTS (~0u)

bool mrn_lock_order_is_asked;

/* Before any insertion, which would otherwise be unknown; the interposer's constructors come later. */
__attribute__((constructor(101))) static void ask(void)
{
	const char *asked = secure_getenv("MRN_LOCK_ORDER");

	mrn_lock_order_is_asked = asked && !strcmp(asked, "1");
}

static pthread_mutex_t *lock_of(const struct mrn_driver_lock *l)
{
	/* Acquire: what else is known of it was stored before. */
	return __atomic_load_n(&l->lock, __ATOMIC_ACQUIRE);
}

/* The entry of a lock, or with NULL a free one; NULL if there is none. */
static struct mrn_driver_lock *find(struct mrn_mm *mm, const pthread_mutex_t *lock)
{
	struct mrn_lock_order *o = &mm->order;
	unsigned int used = __atomic_load_n(&o->used, __ATOMIC_ACQUIRE);

	for (unsigned int i = 0; i < used; i++)
		if (lock_of(&o->known[i]) == lock)
			return &o->known[i];
	return NULL;
}

static struct mrn_driver_lock *find_free(struct mrn_mm *mm)
{
	struct mrn_lock_order *o = &mm->order;
	struct mrn_driver_lock *l = find(mm, NULL);

	if (l || o->used == MRN_DRIVER_LOCKS)
		return l;
	l = &o->known[o->used];
	__atomic_store_n(&o->used, o->used + 1, __ATOMIC_RELEASE);
	return l;
}

void mrn_lock_order_add(struct mrn_mm *mm, const struct mmu_range_notifier *mrn)
{
	unsigned int events = mrn->events ? mrn->events | 1u << MMU_NOTIFY_RELEASE : ALL_EVENTS;
	struct mrn_driver_lock *l;

	if (!mrn->driver_lock)
		return;
	l = find(mm, mrn->driver_lock);
	if (l) {
		l->notifiers++;
		__atomic_store_n(&l->events, l->events | events, __ATOMIC_RELAXED);
		return;
	}
	l = find_free(mm);
	if (!l)
		return;
	l->notifiers = 1;
	__atomic_store_n(&l->events, events, __ATOMIC_RELAXED);
	__atomic_store_n(&l->callback,
			 mrn->ops->invalidate ? (uintptr_t)mrn->ops->invalidate
					      : (uintptr_t)mrn->ops->invalidate_start,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&l->taken, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&l->lock, mrn->driver_lock, __ATOMIC_RELEASE);
}

void mrn_lock_order_drop(struct mrn_mm *mm, const struct mmu_range_notifier *mrn)
{
	struct mrn_driver_lock *l;

	if (!mrn->driver_lock || MRN_BROKEN(ORDER_DROP))
		return;
	l = find(mm, mrn->driver_lock);
	/* Sections that have seen it may look at the mutex until they end: the removal waits for them. */
	if (l && !--l->notifiers)
		__atomic_store_n(&l->lock, NULL, __ATOMIC_RELEASE);
}

/*
 * True the first time. Kept apart from the mm's table, out of which a lock goes with its last notifier: a driver may insert
 * one for each fault. With so many reports, the next ones help nobody.
 */
static bool is_new(const pthread_mutex_t *lock)
{
	static const pthread_mutex_t *seen[64];

	for (size_t i = 0; i < sizeof(seen) / sizeof(seen[0]); i++) {
		const pthread_mutex_t *none = NULL;

		if (__atomic_compare_exchange_n(&seen[i], &none, lock, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return true;
		if (none == lock)
			return false;
	}
	return false;
}

/* Reports *l, whose mutex is there, if this thread holds that. */
static void look_at(struct mrn_driver_lock *l, const pthread_mutex_t *lock, int self,
		    struct mrn_order_report *r)
{
	if ((!mrn_is_held_by(lock, self) && !MRN_BROKEN(ORDER_OWNER)) || !is_new(lock))
		return;
	r->lock = (uintptr_t)lock;
	r->callback = __atomic_load_n(&l->callback, __ATOMIC_RELAXED);
	r->taken = __atomic_load_n(&l->taken, __ATOMIC_RELAXED);
}

static void report(const struct mrn_order_report *r)
{
	if (!r->lock)
		return;
	mrn_order_report(r);
	if (MRN_CHECKS)
		abort();
}

/* At any driver lock whose callbacks may be told of one of the events. */
static void look(struct mrn_mm *mm, unsigned int events, const char *who, const void *caller)
{
	unsigned int used = __atomic_load_n(&mm->order.used, __ATOMIC_ACQUIRE);
	struct mrn_order_report r = {.who = who, .caller = (uintptr_t)caller};
	int self, slot;

	if (!used)
		return;
	self = mrn_holder_self();
	slot = mrn_slot_claim(mm);
	mrn_section_enter(mm, slot);
	for (unsigned int i = 0; i < used && !r.lock; i++) {
		struct mrn_driver_lock *l = &mm->order.known[i];
		pthread_mutex_t *lock = lock_of(l);
		/* Acquire: before the second look at the lock, which tells that these are its events. */
		unsigned int told = __atomic_load_n(&l->events, __ATOMIC_ACQUIRE);

		if (lock && lock == lock_of(l) && (told & events || MRN_BROKEN(ORDER_EVENTS)))
			look_at(l, lock, self, &r);
	}
	mrn_section_leave(mm, slot);
	mrn_slot_release(mm, slot);
	report(&r);
}

void mrn_lock_order_start(const struct mmu_notifier_range *range, const void *caller)
{
	if (range && range->mm && !mrn_mm_is_wiped(range->mm) &&
	    (unsigned int)range->event < MRN_NR_EVENTS &&
	    (!range->owner || MRN_BROKEN(ORDER_WAITS)))
		look(range->mm, 1u << range->event, "mmu_notifier_invalidate_range_start", caller);
}

void mrn_lock_order_might(struct mrn_mm *mm, const char *who, const void *caller)
{
	if (mrn_lock_order_is_on() && mm && !mrn_mm_is_wiped(mm))
		look(mm, ALL_EVENTS, who, caller);
}

void mrn_might_invalidate(struct mrn_mm *mm, const char *who)
{
	mrn_lock_order_might(mm, who, __builtin_return_address(0));
}

void mrn_lock_order_read(const struct mmu_range_notifier *mrn, const char *who, const void *caller)
{
	mrn_lock_order_might(__atomic_load_n(&mrn->mm, __ATOMIC_RELAXED), who, caller);
}

void mrn_check_lock_order(const struct mmu_range_notifier *mrn, const char *who)
{
	mrn_lock_order_read(mrn, who, __builtin_return_address(0));
}

void mrn_lock_order_remove(const struct mmu_range_notifier *mrn, struct mrn_mm *mm,
			   const void *caller)
{
	static const char who[] = "mmu_range_notifier_remove";
	struct mrn_order_report r = {.who = who, .caller = (uintptr_t)caller};
	struct mrn_driver_lock *l;

	/* Owed a finish, it is waited for through whatever a start calls before that. */
	if (!mrn->ops->invalidate && !MRN_BROKEN(ORDER_FINISH)) {
		look(mm, ALL_EVENTS, who, caller);
		return;
	}
	l = mrn->driver_lock ? find(mm, mrn->driver_lock) : NULL;
	if (l)
		look_at(l, mrn->driver_lock, mrn_holder_self(), &r);
	report(&r);
}

void mrn_lock_order_taken(const struct mmu_range_notifier *mrn, const void *caller)
{
	struct mrn_mm *mm = __atomic_load_n(&mrn->mm, __ATOMIC_RELAXED);
	struct mrn_driver_lock *l = mm && !mrn_mm_is_wiped(mm) ? find(mm, mrn->driver_lock) : NULL;

	if (l)
		__atomic_store_n(&l->taken, (uintptr_t)caller, __ATOMIC_RELAXED);
}
