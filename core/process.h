/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the process has once, whatever mms it has. In pages that a forked child finds zeroed: nothing of its parent's
 * is under way there.
 */
#ifndef MRN_CORE_PROCESS_H
#define MRN_CORE_PROCESS_H

#include <stdint.h>

#include "os/mutex.h"

struct mrn_process {
	/* Removed asynchronously, not yet freed: a stack, taken from under taking. deferred.c */
	struct mrn_mutex taking;
	struct mrn_deferred *queue;
	uint32_t kicks;		    /* futex: goes up when there may be something to be freed */
	uint32_t reaper;	    /* is there one? */
	uint32_t needed;	    /* notifiers of mmu_notifier_get that have not been freed */
	struct mrn_mutex attaching; /* source/turn.h */
	struct mrn_mutex signals;   /* source/dispatch/sigsys.c */
};

/* Made with the process's first mm, never freed; NULL before. */
extern struct mrn_process *mrn_process;

/* Makes it where there is none yet, and the generation with it: 0 or -ENOMEM. */
int mrn_process_init(void);

#endif
