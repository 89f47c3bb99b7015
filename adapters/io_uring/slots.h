/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The free indices of a ring's buffer table, a stack: the index freed last is used next.
 */
#ifndef MRN_URING_SLOTS_H
#define MRN_URING_SLOTS_H

#include <pthread.h>

struct mrn_uring_slots {
	pthread_mutex_t lock; /* a leaf: nothing is called inside it */
	unsigned int *free;
	unsigned int nr_free;
};

/* 0 or -ENOMEM. */
int mrn_uring_slots_init(struct mrn_uring_slots *slots, unsigned int nr);
void mrn_uring_slots_destroy(struct mrn_uring_slots *slots);

/* An index, which is the caller's until it is put, or -ENOSPC. */
int mrn_uring_slots_take(struct mrn_uring_slots *slots);
void mrn_uring_slots_put(struct mrn_uring_slots *slots, unsigned int index);

#endif
