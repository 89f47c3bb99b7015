/* SPDX-License-Identifier: BSD-3-Clause */
/* glibc stores the owner of an ordinary mutex; elsewhere, a mutex that can be taken was not held. */
#include "os/not_held.h"

#ifdef __GLIBC__
bool mrn_is_not_held(pthread_mutex_t *lock)
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
bool mrn_is_not_held(pthread_mutex_t *lock)
{
	if (pthread_mutex_trylock(lock) != 0)
		return false;
	pthread_mutex_unlock(lock);
	return true;
}
#endif
