/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ranges that are armed and have no marks, since they are too wide: a set of bounded size that may cover too much. They are
 * armed each time, and disarmed when their notifier leaves, but stay in the set until the userfaultfd goes.
 */
#ifndef MRN_SOURCE_UFFD_WIDE_H
#define MRN_SOURCE_UFFD_WIDE_H

#include "source/bracket/spans.h"

#define MRN_WIDE_MAX 16

/* With the userfaultfd's lock held; low and high are atomic, and bound all. */
struct mrn_wide {
	uintptr_t low, high;
	unsigned int n;
	struct mrn_span range[MRN_WIDE_MAX + 1];
};

static inline void mrn_wide_bound(struct mrn_wide *w)
{
	__atomic_store_n(&w->low, w->n ? w->range[0].start : 0, __ATOMIC_RELAXED);
	__atomic_store_n(&w->high, w->n ? w->range[w->n - 1].end : 0, __ATOMIC_RELAXED);
}

static inline void mrn_wide_clear(struct mrn_wide *w)
{
	w->n = 0;
	mrn_wide_bound(w);
}

static inline void mrn_wide_add(struct mrn_wide *w, uintptr_t start, uintptr_t end)
{
	w->n = mrn_spans_add(w->range, w->n, MRN_WIDE_MAX, start, end);
	mrn_wide_bound(w);
}

/* As it was at `then`: nothing has been armed in what was added since. */
static inline void mrn_wide_restore(struct mrn_wide *w, const struct mrn_wide *then)
{
	w->n = then->n;
	for (unsigned int i = 0; i < w->n; i++)
		w->range[i] = then->range[i];
	mrn_wide_bound(w);
}

#endif
