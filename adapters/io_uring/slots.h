/* SPDX-License-Identifier: BSD-3-Clause */
/* The free indices of a ring's buffer table. They are a stack: the index freed last is used next. */
#ifndef MRN_URING_SLOTS_H
#define MRN_URING_SLOTS_H

#include <pthread.h>

struct mrn_uring_slots {
	pthread_mutex_t lock; /* a leaf: nothing is called inside it */
	unsigned int *free;   /* room for all; the next one to be used is free[nr_free - 1] */
	unsigned int nr_free;
};

/* 0 or -ENOMEM. */
int mrn_uring_slots_init(struct mrn_uring_slots *slots, unsigned int nr);
void mrn_uring_slots_destroy(struct mrn_uring_slots *slots);

/*
 * Takes a free index, the caller's until put. Whoever takes one has a place (adapters/registrations.h), and gives the
 * place up after the index: so there is one.
 */
unsigned int mrn_uring_slots_take(struct mrn_uring_slots *slots);
void mrn_uring_slots_put(struct mrn_uring_slots *slots, unsigned int index);

#endif
