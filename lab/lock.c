/* SPDX-License-Identifier: BSD-3-Clause */
/* The drivers' locks. */
#include <sched.h>

#include "lab/world.h"

#define LOCKS_PER_WINDOW 8 /* one in this many makes room for others */

/* Where a thread takes a lock or has dropped it. */
static void lock_window(void)
{
	if (lab_chance_here(LOCKS_PER_WINDOW))
		sched_yield();
}

static void might_sleep_for_lock(void)
{
	lab_might_sleep("takes a lock whose holder may sleep");
}

void lab_lock(pthread_mutex_t *lock)
{
	might_sleep_for_lock();
	lab_spin_lock(lock);
}

void lab_spin_lock(pthread_mutex_t *lock)
{
	lock_window();
	pthread_mutex_lock(lock);
}

void lab_unlock(pthread_mutex_t *lock)
{
	pthread_mutex_unlock(lock);
	lock_window();
}

void lab_down_read(pthread_rwlock_t *lock)
{
	might_sleep_for_lock();
	lab_read_lock(lock);
}

void lab_down_write(pthread_rwlock_t *lock)
{
	might_sleep_for_lock();
	lab_write_lock(lock);
}

void lab_read_lock(pthread_rwlock_t *lock)
{
	lock_window();
	pthread_rwlock_rdlock(lock);
}

void lab_write_lock(pthread_rwlock_t *lock)
{
	lock_window();
	pthread_rwlock_wrlock(lock);
}

void lab_rw_unlock(pthread_rwlock_t *lock)
{
	pthread_rwlock_unlock(lock);
	lock_window();
}
