/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_DEFERRED_H
#define MRN_DEFERRED_H

#include <stdint.h>

struct mrn_home;

/* A piece of the structures in <mrn/mmu_notifier.h>, private to mrn. */
struct mrn_deferred {
	struct mrn_deferred *next;
	struct mrn_home *home;
	uint64_t *pins;
	void (*finish)(struct mrn_deferred *d);
};

#endif
