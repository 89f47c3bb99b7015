/* SPDX-License-Identifier: BSD-3-Clause */
/* Freeing what is removed where nothing may wait or free: deferred.c. */
#ifndef MRN_LIFETIME_DEFERRED_H
#define MRN_LIFETIME_DEFERRED_H

#include <mrn/deferred.h>

#include "lifetime/home.h"

/* Makes the process's queue, and its generation, if there is none yet: 0 or -ENOMEM. Before all else here. */
int mrn_deferred_init(void);
/* Queues d: finish(d) is called once, when the notifier with these pins has none left. Lock-free, callable anywhere. */
void mrn_deferred_push(struct mrn_home *home, struct mrn_deferred *d, uint64_t *pins,
		       void (*finish)(struct mrn_deferred *d));
/* Tells the reaper that a queued item may be ready. Callable anywhere. */
void mrn_deferred_kick(void);
/* After a push: runs d if it is still queued and nobody else may, since home has ended. The caller has a reference. */
void mrn_deferred_run_if_ended(struct mrn_home *home, struct mrn_deferred *d);
/* Runs everything that was queued for home before the call, or waits until other threads have. */
void mrn_deferred_drain(struct mrn_home *home);
/* The same, for the last time. */
void mrn_deferred_end(struct mrn_home *home);
/* For the reaper: runs what is ready of one home. False if there is nothing. */
bool mrn_deferred_reap(void);
/* True if this thread is inside a free function. */
bool mrn_deferred_running(void);

#endif
