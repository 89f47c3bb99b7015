/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The indices of a ring's buffer table that are nobody's. The free ones are a stack: the index freed last is used
 * next. Stuck ones are those that the kernel has refused to empty, so that it may still hold pages there: they are
 * given to nobody until it has emptied them.
 */
#ifndef MRN_URING_SLOTS_H
#define MRN_URING_SLOTS_H

#include <pthread.h>

struct mrn_uring_slots {
	pthread_mutex_t lock; /* a leaf: nothing is called inside it */
	unsigned int *index;  /* nr of them: free ones from the front, stuck ones from the back */
	unsigned int nr, nr_free, nr_stuck;
};

/* 0 or -ENOMEM. */
int mrn_uring_slots_init(struct mrn_uring_slots *slots, unsigned int nr);
void mrn_uring_slots_destroy(struct mrn_uring_slots *slots);

/* An index, which is the caller's until it is put, or -ENOSPC. */
int mrn_uring_slots_take(struct mrn_uring_slots *slots);
void mrn_uring_slots_put(struct mrn_uring_slots *slots, unsigned int index);

/* In place of put: it could not be emptied. */
void mrn_uring_slots_put_stuck(struct mrn_uring_slots *slots, unsigned int index);
/* One that could not be emptied, the caller's until it is put in either way, or -ENOENT. */
int mrn_uring_slots_take_stuck(struct mrn_uring_slots *slots);
/* Takes no lock: in a forked child it may be held for ever. */
unsigned int mrn_uring_slots_stuck(const struct mrn_uring_slots *slots);

#endif
