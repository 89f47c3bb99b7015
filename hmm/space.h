/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A managed address space, and a map of this folder.
 *
 * Who includes whom: a file includes headers of this folder from the lines above its own, or from its left.
 *
 *	keeper.h			descriptors that the program cannot reach
 *	frames.h backing.h worker.h	memory by number; the backing file; threads that may wait
 *	region.h page_lock.h		pages, what is always true of them, and their locks
 *	space.h region.c		all of it (but space.c is in the last line); finding a region
 *	ours.h cpu_entry.h cpu_map.h	addresses that are still ours, page table entries, the kernel's mapping
 *	change.h device.h		the bracket around each change; who owns a device's page
 *	page_in.h			how a page gets a frame and loses it; fault_in.c
 *	own_view.h own.h		the process's own memory
 *	end.h				space.c, for the lab
 *	events.h			fault.c, lost.c, handler.c: the CPU's page faults, other code's unmapping
 *	<mrn/hmm.h>			alloc.c, ops.c, exclusive.c, migrate.c, pin.c, reclaim.c, range_fault.c,
 *					space.c
 */
#ifndef MRN_HMM_SPACE_H
#define MRN_HMM_SPACE_H

#include <mrn/hmm.h>
#include <pthread.h>

#include "hmm/backing.h"
#include "hmm/frames.h"
#include "hmm/keeper.h"
#include "hmm/worker.h"
#include "os/mutex.h"
#include "os/rwlock.h"

struct mrn_hmm {
	struct mrn_mm *mm;
	struct mrn_hmm_frames frames;
	struct mrn_hmm_backing backing;
	int uffd;
	bool read_only_maps; /* the kernel can install an entry write-protected */
	const char *why;

	/*
	 * Held for reading from a check of LOST until the system call that relies on it has returned; for writing from
	 * before an event is read until its pages are marked. Taken before the others.
	 */
	struct mrn_rwlock ours;

	struct mrn_mutex regions_lock;
	struct mrn_hmm_region **region; /* by address */
	size_t nr_regions, room;

	struct mrn_mutex devices_lock;
	struct mrn_hmm_device *devices;
	uint64_t next_pfn;

	/* handler.c */
	pthread_t *handler;
	unsigned int nr_handlers, most_handlers;
	int end; /* eventfd: tells the handlers to end */
	struct mrn_hmm_keeper keeper;

	struct mrn_hmm_workers workers;

	struct mrn_hmm_stats stats; /* each figure atomic */
};

#define MRN_HMM_COUNT(hmm, field, n) \
	__atomic_fetch_add(&(hmm)->stats.field, (uint64_t)(n), __ATOMIC_RELAXED)

#endif
