/* SPDX-License-Identifier: BSD-3-Clause */
/* The library's thread that runs free functions: reaper.c. */
#ifndef MRN_LIFETIME_REAPER_H
#define MRN_LIFETIME_REAPER_H

#include "lifetime/queue.h"

/* Starts the reaper if there is none, if possible. Call where allocating and creating threads is allowed. */
void mrn_reaper_start(void);
/* The same, if an item is queued. */
void mrn_reaper_help(void);

/* Around the life of a notifier whose last user may leave where no thread can be started: the reaper stays as long. */
static inline void mrn_reaper_need(void)
{
	__atomic_fetch_add(&mrn_queue->needed, 1, __ATOMIC_SEQ_CST);
}

static inline void mrn_reaper_unneed(void)
{
	__atomic_fetch_sub(&mrn_queue->needed, 1, __ATOMIC_RELEASE);
}

#endif
