/* SPDX-License-Identifier: BSD-3-Clause */
#include "adapters/verbs/regions.h"

#include <errno.h>
#include <stdlib.h>

int mrn_verbs_regions_init(struct mrn_verbs_regions *regions, unsigned int nr)
{
	regions->stuck = calloc(nr, sizeof(struct ibv_mr *));
	if (!regions->stuck)
		return -ENOMEM;
	regions->nr = nr;
	regions->registered = regions->nr_stuck = 0;
	pthread_mutex_init(&regions->lock, NULL);
	return 0;
}

void mrn_verbs_regions_destroy(struct mrn_verbs_regions *regions)
{
	pthread_mutex_destroy(&regions->lock);
	free(regions->stuck);
}

int mrn_verbs_regions_take(struct mrn_verbs_regions *regions)
{
	int r = -ENOSPC;

	pthread_mutex_lock(&regions->lock);
	if (regions->registered + regions->nr_stuck < regions->nr) {
		regions->registered++;
		r = 0;
	}
	pthread_mutex_unlock(&regions->lock);
	return r;
}

void mrn_verbs_regions_put(struct mrn_verbs_regions *regions)
{
	pthread_mutex_lock(&regions->lock);
	regions->registered--;
	pthread_mutex_unlock(&regions->lock);
}

/* Called under the lock; nr_stuck is read without it. */
static void set_stuck(struct mrn_verbs_regions *regions, unsigned int n)
{
	__atomic_store_n(&regions->nr_stuck, n, __ATOMIC_RELAXED);
}

void mrn_verbs_regions_put_stuck(struct mrn_verbs_regions *regions, struct ibv_mr *mr)
{
	pthread_mutex_lock(&regions->lock);
	regions->stuck[regions->nr_stuck] = mr;
	set_stuck(regions, regions->nr_stuck + 1);
	regions->registered--;
	pthread_mutex_unlock(&regions->lock);
}

struct ibv_mr *mrn_verbs_regions_take_stuck(struct mrn_verbs_regions *regions)
{
	struct ibv_mr *mr = NULL;

	pthread_mutex_lock(&regions->lock);
	if (regions->nr_stuck) {
		set_stuck(regions, regions->nr_stuck - 1);
		mr = regions->stuck[regions->nr_stuck];
		regions->registered++;
	}
	pthread_mutex_unlock(&regions->lock);
	return mr;
}

unsigned int mrn_verbs_regions_stuck(const struct mrn_verbs_regions *regions)
{
	return __atomic_load_n(&regions->nr_stuck, __ATOMIC_RELAXED);
}
