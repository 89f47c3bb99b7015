/* SPDX-License-Identifier: BSD-3-Clause */
#include <mrn/mmu_notifier.h>
#include <string.h>

#include "core/misuse.h"

/*
 * True if this thread surely does not hold the mutex: glibc stores the owner of an ordinary mutex; elsewhere, a mutex
 * that can be taken was not held.
 */
#ifdef __GLIBC__
static bool not_held(pthread_mutex_t *lock)
{
	pthread_mutex_t mine = PTHREAD_MUTEX_INITIALIZER;
	int self;

	/* This thread's number as glibc stores it: in a child of vfork it is not gettid's. */
	pthread_mutex_trylock(&mine);
	self = mine.__data.__owner;
	pthread_mutex_unlock(&mine);
	return lock->__data.__owner != self;
}
#else
static bool not_held(pthread_mutex_t *lock)
{
	if (pthread_mutex_trylock(lock) != 0)
		return false;
	pthread_mutex_unlock(lock);
	return true;
}
#endif

void mrn_reads_are_checked(struct mmu_range_notifier *mrn)
{
	(void)mrn;
}

static void note_read_retry(struct mmu_range_notifier *mrn)
{
	void (*none)(struct mmu_range_notifier *) = NULL;

	/* P3: writes nothing when there is nothing to be noted. */
	if (!mrn_has_watcher(mrn) && !__atomic_load_n(&mrn->free_fn, __ATOMIC_RELAXED))
		__atomic_compare_exchange_n(&mrn->free_fn, &none, mrn_reads_are_checked, false,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

void mrn_check_driver_lock(const struct mmu_range_notifier *mrn, const char *who)
{
	if (mrn->driver_lock && not_held(mrn->driver_lock))
		mrn_misuse(who, "was called without the notifier's driver_lock");
	if (MRN_CHECKS && !strcmp(who, "mmu_range_read_retry"))
		note_read_retry((struct mmu_range_notifier *)(uintptr_t)mrn);
}
