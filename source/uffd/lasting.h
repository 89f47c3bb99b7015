/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ranges that stay armed when their notifiers have gone, the oldest first: repeated registrations of the same memory
 * need no arming. Each may split two mappings, and makes an unannounced munmap of it wait for the keeper; so the number of
 * those without a notifier is bounded, and the oldest are disarmed when there are too many, or too many mappings.
 */
#ifndef MRN_SOURCE_UFFD_LASTING_H
#define MRN_SOURCE_UFFD_LASTING_H

#include <stdbool.h>

#include "source/bracket/spans.h"

#define MRN_LASTING_MAX 16384u

/* With the userfaultfd's lock held. */
struct mrn_lasting {
	unsigned int first, n; /* n is atomic */
	struct mrn_span range[MRN_LASTING_MAX];
};

/* Anywhere. */
static inline unsigned int mrn_lasting_number(const struct mrn_lasting *k)
{
	return __atomic_load_n(&k->n, __ATOMIC_RELAXED);
}

static inline bool mrn_lasting_is_full(const struct mrn_lasting *k)
{
	return k->n == MRN_LASTING_MAX;
}

static inline void mrn_lasting_clear(struct mrn_lasting *k)
{
	__atomic_store_n(&k->n, 0, __ATOMIC_RELAXED);
}

/* There is room. */
static inline void mrn_lasting_push(struct mrn_lasting *k, struct mrn_span s)
{
	k->range[(k->first + k->n) % MRN_LASTING_MAX] = s;
	__atomic_store_n(&k->n, k->n + 1, __ATOMIC_RELAXED);
}

/* The oldest. There is one. */
static inline struct mrn_span mrn_lasting_pop(struct mrn_lasting *k)
{
	struct mrn_span s = k->range[k->first];

	k->first = (k->first + 1) % MRN_LASTING_MAX;
	__atomic_store_n(&k->n, k->n - 1, __ATOMIC_RELAXED);
	return s;
}

#endif
