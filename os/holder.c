/* SPDX-License-Identifier: BSD-3-Clause */
/* glibc stores the owner of an ordinary mutex; elsewhere, a mutex that can be taken was not held. */
#include "os/holder.h"

#ifdef __GLIBC__
/* Another thread may be taking or releasing it. */
static int holder_of(const pthread_mutex_t *lock)
{
	return __atomic_load_n(&lock->__data.__owner, __ATOMIC_RELAXED);
}

int mrn_holder_self(void)
{
	pthread_mutex_t mine = PTHREAD_MUTEX_INITIALIZER;
	int self;

	/* This thread's number as glibc stores it: in a child of vfork it is not gettid's. */
	pthread_mutex_trylock(&mine);
	self = holder_of(&mine);
	pthread_mutex_unlock(&mine);
	return self;
}

/* The lower two bits of the kind are the type; the others say what else the mutex is. */
static bool is_recursive(const pthread_mutex_t *lock)
{
	return (lock->__data.__kind & 3) == PTHREAD_MUTEX_RECURSIVE_NP;
}

bool mrn_is_held_by(const pthread_mutex_t *lock, int holder)
{
	return holder && holder_of(lock) == holder && !is_recursive(lock);
}

bool mrn_is_not_held(pthread_mutex_t *lock)
{
	return holder_of(lock) != mrn_holder_self();
}
#else
int mrn_holder_self(void)
{
	return 0;
}

bool mrn_is_held_by(const pthread_mutex_t *lock, int holder)
{
	(void)lock;
	(void)holder;
	return false;
}

bool mrn_is_not_held(pthread_mutex_t *lock)
{
	if (pthread_mutex_trylock(lock) != 0)
		return false;
	pthread_mutex_unlock(lock);
	return true;
}
#endif
