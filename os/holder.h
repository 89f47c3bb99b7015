/* SPDX-License-Identifier: BSD-3-Clause */
/* Who holds a mutex. Event path. */
#ifndef MRN_OS_HOLDER_H
#define MRN_OS_HOLDER_H

#include <pthread.h>
#include <stdbool.h>

/* True if this thread surely does not hold the mutex. */
bool mrn_is_not_held(pthread_mutex_t *lock);

/* This thread, as mutexes name it; 0 if they do not tell who holds them. */
int mrn_holder_self(void);
/* True if that thread surely holds the mutex, and would wait for itself if it took it again. */
bool mrn_is_held_by(const pthread_mutex_t *lock, int holder);

#endif
