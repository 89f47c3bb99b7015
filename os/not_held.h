/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_OS_NOT_HELD_H
#define MRN_OS_NOT_HELD_H

#include <pthread.h>
#include <stdbool.h>

/* True if this thread surely does not hold the mutex. Event path. */
bool mrn_is_not_held(pthread_mutex_t *lock);

#endif
