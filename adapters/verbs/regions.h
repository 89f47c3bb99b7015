/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many regions of the device a cache has, and which of them are stuck: ibv_dereg_mr has failed for them, so that the
 * device may still use their pages. A stuck region has a place here without an allocation, because places are counted
 * before regions are registered:
 *
 *	registered + nr_stuck <= nr
 */
#ifndef MRN_VERBS_REGIONS_H
#define MRN_VERBS_REGIONS_H

#include <infiniband/verbs.h>
#include <pthread.h>

struct mrn_verbs_regions {
	pthread_mutex_t lock;  /* a leaf: nothing is called inside it */
	struct ibv_mr **stuck; /* nr entries, of which nr_stuck are in use */
	unsigned int nr, registered, nr_stuck;
};

/* 0 or -ENOMEM. */
int mrn_verbs_regions_init(struct mrn_verbs_regions *regions, unsigned int nr);
void mrn_verbs_regions_destroy(struct mrn_verbs_regions *regions);

/* Takes the place of a region that is about to be registered, the caller's until put, or returns -ENOSPC. */
int mrn_verbs_regions_take(struct mrn_verbs_regions *regions);
void mrn_verbs_regions_put(struct mrn_verbs_regions *regions);

/* Instead of put, for a region that could not be deregistered. */
void mrn_verbs_regions_put_stuck(struct mrn_verbs_regions *regions, struct ibv_mr *mr);
/* Takes a stuck region with its place, the caller's until put in either way; or NULL. */
struct ibv_mr *mrn_verbs_regions_take_stuck(struct mrn_verbs_regions *regions);
/* Takes no lock: in a forked child the lock may be held for ever. */
unsigned int mrn_verbs_regions_stuck(const struct mrn_verbs_regions *regions);

#endif
