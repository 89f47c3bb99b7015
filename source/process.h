/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the sources know of this process as a whole. In pages that a forked child finds zeroed: it has none of its
 * parent's sources, and turn.h's lock is free.
 */
#ifndef MRN_SOURCE_PROCESS_H
#define MRN_SOURCE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "os/mutex.h"

struct mrn_source_process {
	/*
	 * The process that owns this memory, once an interposer or a source is there: a vfork's child shares the
	 * memory, but is another process. 0 in a forked child.
	 */
	int32_t pid;
	bool dispatched; /* the dispatch source brackets all calls; no other source needs to */
	uint64_t tags;	 /* tags of readers that are arming, a bit for each; see arming.c */
	struct mrn_mutex attaching; /* turn.h */
	struct mrn_mutex signals;   /* dispatch/sigsys.c */
};

/* Made for the first interposer or source, never freed; NULL before. */
extern struct mrn_source_process *mrn_source_process;

/* Makes it if there is none yet: 0 or -ENOMEM. */
int mrn_source_process_init(void);

/* Stores this process's pid, if it is known. Does nothing without memory. */
void mrn_source_process_is(long pid);

/* 0 if unknown. Event path. */
static inline int32_t mrn_source_process_pid(void)
{
	const struct mrn_source_process *p = __atomic_load_n(&mrn_source_process, __ATOMIC_ACQUIRE);

	return p ? __atomic_load_n(&p->pid, __ATOMIC_RELAXED) : 0;
}

/* Event path. */
static inline bool mrn_source_process_is_dispatched(void)
{
	const struct mrn_source_process *p = __atomic_load_n(&mrn_source_process, __ATOMIC_ACQUIRE);

	return p && __atomic_load_n(&p->dispatched, __ATOMIC_RELAXED);
}

#endif
