/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A home: the part of what notifiers are inserted into, such as an mm, that concerns their lifetimes. Zero in a forked
 * child, like the mm.
 */
#ifndef MRN_LIFETIME_HOME_H
#define MRN_LIFETIME_HOME_H

#include <stdbool.h>
#include <stdint.h>

#include "os/mutex.h"

struct mrn_home {
	uint32_t refs;
	/* Futex: goes up when a notifier that is being removed has lost its last pin. */
	uint32_t drained;
	/* Held while asynchronously removed notifiers are freed: free functions run under it. */
	struct mrn_mutex drain_lock;
	bool ended; /* no later call will free anything */
	/* Called when the last reference goes. */
	void (*free)(struct mrn_home *home);
};

static inline void mrn_home_get(struct mrn_home *home)
{
	__atomic_fetch_add(&home->refs, 1, __ATOMIC_RELAXED);
}

static inline void mrn_home_put(struct mrn_home *home)
{
	if (__atomic_fetch_sub(&home->refs, 1, __ATOMIC_ACQ_REL) == 1)
		home->free(home);
}

#endif
