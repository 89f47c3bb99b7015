/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * State that a process has once, for all its mms. In pages that a forked child finds zeroed: nothing of its parent's is
 * in progress there.
 */
#ifndef MRN_CORE_PROCESS_H
#define MRN_CORE_PROCESS_H

#include <stdint.h>

#include "os/mutex.h"

struct mrn_process {
	/* A stack of notifiers removed asynchronously and not yet freed; popped under taking. deferred.c */
	struct mrn_mutex taking;
	struct mrn_deferred *queue;
	uint32_t kicks;	 /* futex: goes up when there may be something to free */
	uint32_t reaper; /* 1: it is running */
	uint32_t needed; /* notifiers of mmu_notifier_get that have not been freed */
};

/* Created with the process's first mm, never freed; NULL before. */
extern struct mrn_process *mrn_process;

/* Creates it, and the generation, if there is none yet: 0 or -ENOMEM. */
int mrn_process_init(void);

#endif
