/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>

#include "adapters/io_uring/slots.h"

int mrn_uring_slots_init(struct mrn_uring_slots *slots, unsigned int nr)
{
	slots->index = malloc(nr * sizeof(*slots->index));
	if (!slots->index)
		return -ENOMEM;
	/* Low indices on top: a table that never fills up stays dense. */
	for (unsigned int i = 0; i < nr; i++)
		slots->index[i] = nr - 1 - i;
	slots->nr = slots->nr_free = nr;
	slots->nr_stuck = 0;
	pthread_mutex_init(&slots->lock, NULL);
	return 0;
}

void mrn_uring_slots_destroy(struct mrn_uring_slots *slots)
{
	pthread_mutex_destroy(&slots->lock);
	free(slots->index);
}

int mrn_uring_slots_take(struct mrn_uring_slots *slots)
{
	int index = -ENOSPC;

	pthread_mutex_lock(&slots->lock);
	if (slots->nr_free)
		index = (int)slots->index[--slots->nr_free];
	pthread_mutex_unlock(&slots->lock);
	return index;
}

void mrn_uring_slots_put(struct mrn_uring_slots *slots, unsigned int index)
{
	pthread_mutex_lock(&slots->lock);
	slots->index[slots->nr_free++] = index;
	pthread_mutex_unlock(&slots->lock);
}

/* Called under the lock; nr_stuck is read without it. */
static unsigned int set_stuck(struct mrn_uring_slots *slots, unsigned int n)
{
	__atomic_store_n(&slots->nr_stuck, n, __ATOMIC_RELAXED);
	return n;
}

void mrn_uring_slots_put_stuck(struct mrn_uring_slots *slots, unsigned int index)
{
	pthread_mutex_lock(&slots->lock);
	slots->index[slots->nr - set_stuck(slots, slots->nr_stuck + 1)] = index;
	pthread_mutex_unlock(&slots->lock);
}

int mrn_uring_slots_take_stuck(struct mrn_uring_slots *slots)
{
	int index = -ENOENT;

	pthread_mutex_lock(&slots->lock);
	if (slots->nr_stuck) {
		index = (int)slots->index[slots->nr - slots->nr_stuck];
		set_stuck(slots, slots->nr_stuck - 1);
	}
	pthread_mutex_unlock(&slots->lock);
	return index;
}

unsigned int mrn_uring_slots_stuck(const struct mrn_uring_slots *slots)
{
	return __atomic_load_n(&slots->nr_stuck, __ATOMIC_RELAXED);
}
