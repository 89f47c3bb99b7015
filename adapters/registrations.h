/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The places that a device has for registrations, and the registrations that are stuck: the device refuses to end them, and
 * may still use their pages. Places are counted before anything is registered, and a stuck registration keeps its place.
 * So there is always room to remember it, without an allocation:
 *
 *	taken + nr_stuck <= nr
 *
 * Stuck registrations wait in a queue. One that is tried again and refused goes to the back, so a registration that the
 * device never ends does not keep others from being tried.
 */
#ifndef MRN_ADAPTERS_REGISTRATIONS_H
#define MRN_ADAPTERS_REGISTRATIONS_H

#include <mrn/regcache.h>
#include <pthread.h>
#include <stdbool.h>

/* What the device has given for a registration. */
typedef __typeof__(((struct mrn_regcache_entry *)NULL)->handle) mrn_handle;

struct mrn_registrations {
	/* Ends a registration; false if the device refuses. Called without the lock, in any thread of the cache's. */
	bool (*end)(void *ctx, mrn_handle handle);
	void *ctx;
	pthread_mutex_t lock; /* a leaf: nothing is called inside it */
	mrn_handle *stuck;    /* a ring of nr: the queue begins at first */
	unsigned int nr, taken, first, nr_stuck;
};

/* The caller has set end and ctx. 0 or -ENOMEM. */
int mrn_registrations_init(struct mrn_registrations *r, unsigned int nr);
void mrn_registrations_destroy(struct mrn_registrations *r);

/*
 * Takes the place of a registration that is about to be made, after trying stuck ones again. The caller's until put or
 * end. Returns -ENOSPC if there is none, not even after every stuck registration has been tried.
 */
int mrn_registrations_take(struct mrn_registrations *r);
/* For one that could not be made. */
void mrn_registrations_put(struct mrn_registrations *r);

/* Ends a registration and gives its place up, and then tries stuck ones again; or the registration is stuck now. */
void mrn_registrations_end(struct mrn_registrations *r, mrn_handle handle);

/* Tries each stuck registration once. */
void mrn_registrations_end_stuck(struct mrn_registrations *r);

/* Takes no lock: in a forked child the lock may be held for ever. */
unsigned int mrn_registrations_stuck(const struct mrn_registrations *r);

#endif
