/* SPDX-License-Identifier: BSD-3-Clause */
#include "adapters/registrations.h"

#include <errno.h>
#include <stdlib.h>

#include "adapters/check.h"

int mrn_registrations_init(struct mrn_registrations *r, unsigned int nr)
{
	r->stuck = calloc(nr, sizeof(*r->stuck));
	if (!r->stuck)
		return -ENOMEM;
	r->nr = nr;
	r->taken = r->first = r->nr_stuck = 0;
	pthread_mutex_init(&r->lock, NULL);
	return 0;
}

void mrn_registrations_destroy(struct mrn_registrations *r)
{
	pthread_mutex_destroy(&r->lock);
	free(r->stuck);
}

/* -------------------------------------------------------------------------------------------- places */

static bool take(struct mrn_registrations *r)
{
	bool is_free;

	pthread_mutex_lock(&r->lock);
	is_free = r->taken + r->nr_stuck < r->nr;
	r->taken += is_free;
	pthread_mutex_unlock(&r->lock);
	return is_free;
}

void mrn_registrations_put(struct mrn_registrations *r)
{
	pthread_mutex_lock(&r->lock);
	r->taken--;
	pthread_mutex_unlock(&r->lock);
}

/* --------------------------------------------------------------------------------------------- stuck */

unsigned int mrn_registrations_stuck(const struct mrn_registrations *r)
{
	return __atomic_load_n(&r->nr_stuck, __ATOMIC_RELAXED);
}

/* With the lock; nr_stuck is read without it. */
static void set_stuck(struct mrn_registrations *r, unsigned int n)
{
	__atomic_store_n(&r->nr_stuck, n, __ATOMIC_RELAXED);
}

/* Puts the caller's registration at the back of the queue, with its place. */
static void keep(struct mrn_registrations *r, mrn_handle handle)
{
	pthread_mutex_lock(&r->lock);
	if (MRN_BROKEN(REGISTRATIONS_TURN)) {
		r->first = (r->first + r->nr - 1) % r->nr;
		r->stuck[r->first] = handle;
	} else {
		r->stuck[(r->first + r->nr_stuck) % r->nr] = handle;
	}
	set_stuck(r, r->nr_stuck + 1);
	r->taken--;
	pthread_mutex_unlock(&r->lock);
}

/* Takes the one at the front, with its place. False if none is stuck. */
static bool take_stuck(struct mrn_registrations *r, mrn_handle *handle)
{
	bool there;

	pthread_mutex_lock(&r->lock);
	there = r->nr_stuck;
	if (there) {
		*handle = r->stuck[r->first];
		r->first = (r->first + 1) % r->nr;
		set_stuck(r, r->nr_stuck - 1);
		r->taken++;
	}
	pthread_mutex_unlock(&r->lock);
	return there;
}

/* False: the device refuses, and the registration is stuck. */
static bool end(struct mrn_registrations *r, mrn_handle handle)
{
	if (!r->end(r->ctx, handle) && !MRN_BROKEN(REGISTRATIONS_STUCK)) {
		keep(r, handle);
		return false;
	}
	mrn_registrations_put(r);
	return true;
}

/*
 * Tries stuck ones from the front, none twice. Unless all are to be tried, stops at the first that is refused: a device
 * that refuses one often refuses all, as a ring does in the wrong thread, and there may be thousands.
 */
static void try_stuck(struct mrn_registrations *r, bool all)
{
	mrn_handle handle;

	for (unsigned int n = mrn_registrations_stuck(r); n && take_stuck(r, &handle); n--)
		if (!end(r, handle) && !all)
			return;
}

/* ---------------------------------------------------------------------------------------------- both */

int mrn_registrations_take(struct mrn_registrations *r)
{
	try_stuck(r, false);
	if (take(r))
		return 0;
	try_stuck(r, true);
	return take(r) ? 0 : -ENOSPC;
}

void mrn_registrations_end(struct mrn_registrations *r, mrn_handle handle)
{
	if (end(r, handle))
		try_stuck(r, false);
}

void mrn_registrations_end_stuck(struct mrn_registrations *r)
{
	try_stuck(r, true);
}
