/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Workers: threads that run whatever may wait: consumers' callbacks, device functions, reads from the backing file.
 *
 * A callback may wait for a thread whose own fault needs a worker, and so on. So a worker that takes a job while no
 * other is idle creates another one first. There are as many workers as jobs at one time, which are no more than
 * faulting threads, and some that stay for later. If no thread can be created, jobs wait until a worker is free; faults
 * that need no worker are served all the same.
 *
 * The queue is a ring in pages of its own, under a lock that is held for some instructions. Lost pages are reported by
 * a flag, which needs no memory.
 */
#ifndef MRN_HMM_WORKER_H
#define MRN_HMM_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "os/mutex.h"

/* A page fault of the CPU. */
struct mrn_hmm_fault {
	uintptr_t addr;
	pid_t tid;
	bool write;
};

struct mrn_hmm_workers {
	/* Serves a fault; NULL: pages have been lost. */
	void (*serve)(void *arg, const struct mrn_hmm_fault *f);
	void *arg;
	/* Guards all below; a leaf. */
	struct mrn_mutex lock;
	uint32_t called; /* futex: goes up when there is a job */
	unsigned int idle;
	bool lose, ending;
	struct mrn_hmm_fault *job; /* a ring */
	size_t first, n, room;
	struct mrn_hmm_worker *list;
};

int mrn_hmm_workers_start(struct mrn_hmm_workers *w,
			  void (*serve)(void *arg, const struct mrn_hmm_fault *f), void *arg);
/* Call when no other thread calls a worker any more. */
void mrn_hmm_workers_stop(struct mrn_hmm_workers *w);
/* Frees the workers' memory; also in a forked child, where the threads do not exist. Takes no lock. */
void mrn_hmm_workers_free(struct mrn_hmm_workers *w);
/* False if there is no memory for a job. */
bool mrn_hmm_workers_call(struct mrn_hmm_workers *w, const struct mrn_hmm_fault *f);
/* Makes a worker handle lost pages. */
void mrn_hmm_workers_kick(struct mrn_hmm_workers *w);

#endif
