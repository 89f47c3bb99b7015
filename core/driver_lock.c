/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/check.h"

#include <mrn/mmu_notifier.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/mm.h"

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

void mrn_check_driver_lock(const struct mmu_range_notifier *mrn, const char *who)
{
	static const char what[] = " was called without the notifier's driver_lock\n";

	if (!mrn->driver_lock || !not_held(mrn->driver_lock))
		return;
	if (write(STDERR_FILENO, who, strlen(who)) < 0 ||
	    write(STDERR_FILENO, what, sizeof(what) - 1) < 0)
		abort();
	abort();
}
