/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>

#include "adapters/io_uring/slots.h"

int mrn_uring_slots_init(struct mrn_uring_slots *slots, unsigned int nr)
{
	slots->free = malloc(nr * sizeof(*slots->free));
	if (!slots->free)
		return -ENOMEM;
	/* Low indices on top: a table that never fills up stays dense. */
	for (unsigned int i = 0; i < nr; i++)
		slots->free[i] = nr - 1 - i;
	slots->nr_free = nr;
	pthread_mutex_init(&slots->lock, NULL);
	return 0;
}

void mrn_uring_slots_destroy(struct mrn_uring_slots *slots)
{
	pthread_mutex_destroy(&slots->lock);
	free(slots->free);
}

unsigned int mrn_uring_slots_take(struct mrn_uring_slots *slots)
{
	unsigned int index;

	pthread_mutex_lock(&slots->lock);
	index = slots->free[--slots->nr_free];
	pthread_mutex_unlock(&slots->lock);
	return index;
}

void mrn_uring_slots_put(struct mrn_uring_slots *slots, unsigned int index)
{
	pthread_mutex_lock(&slots->lock);
	slots->free[slots->nr_free++] = index;
	pthread_mutex_unlock(&slots->lock);
}
