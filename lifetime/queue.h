/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shared by deferred.c and reaper.c: the process's queue, one for all homes. In pages that a forked child finds zeroed:
 * nothing of its parent's is queued there, and no reaper runs.
 */
#ifndef MRN_LIFETIME_QUEUE_H
#define MRN_LIFETIME_QUEUE_H

#include <stdint.h>

#include "os/mutex.h"

struct mrn_queue {
	struct mrn_mutex taking;
	struct mrn_deferred *top; /* a stack, popped under taking */
	uint32_t kicks;		  /* futex: goes up when there may be something to free */
	uint32_t reaper;	  /* 1: it is running */
	uint32_t needed;	  /* reaper.h */
};

/* Made by mrn_deferred_init, never freed; NULL before. */
extern struct mrn_queue *mrn_queue;

#endif
