/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The unused indices of a ring's buffer table. The free ones are a stack: the index freed last is used next. Stuck ones
 * are those that the kernel refused to empty, so that it may still hold their pages: they are not reused until it has
 * emptied them.
 */
#ifndef MRN_URING_SLOTS_H
#define MRN_URING_SLOTS_H

#include <pthread.h>

struct mrn_uring_slots {
	pthread_mutex_t lock; /* a leaf: nothing is called inside it */
	unsigned int *index;  /* nr entries: free ones from the front, stuck ones from the back */
	unsigned int nr, nr_free, nr_stuck;
};

/* 0 or -ENOMEM. */
int mrn_uring_slots_init(struct mrn_uring_slots *slots, unsigned int nr);
void mrn_uring_slots_destroy(struct mrn_uring_slots *slots);

/* Takes a free index, the caller's until put, or -ENOSPC. */
int mrn_uring_slots_take(struct mrn_uring_slots *slots);
void mrn_uring_slots_put(struct mrn_uring_slots *slots, unsigned int index);

/* Instead of put, for a slot that could not be emptied. */
void mrn_uring_slots_put_stuck(struct mrn_uring_slots *slots, unsigned int index);
/* Takes a stuck index, the caller's until put in either way, or -ENOENT. */
int mrn_uring_slots_take_stuck(struct mrn_uring_slots *slots);
/* Takes no lock: in a forked child the lock may be held for ever. */
unsigned int mrn_uring_slots_stuck(const struct mrn_uring_slots *slots);

#endif
