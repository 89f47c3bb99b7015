/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ranges that are good for one use at a time, until whoever may be zapping them is gone: a set of bounded size, which
 * errs on the safe side. Nobody is told when a zap is over: a look-up finds out.
 *
 * The keeper adds. Any other thread blocks signals before it looks: a handler that interrupted it and changed memory
 * would wait for the keeper, and the keeper for the set's lock.
 */
#ifndef MRN_SOURCE_UFFD_USE_ONCE_H
#define MRN_SOURCE_UFFD_USE_ONCE_H

#include <stdbool.h>
#include <stdint.h>

#include "os/mutex.h"
#include "source/uffd/zappers.h"

#define MRN_USE_ONCE_MAX 64

struct mrn_use_once_range {
	uintptr_t start, end;
	struct mrn_zappers zappers;
};

struct mrn_use_once {
	struct mrn_mutex lock;
	unsigned int n;
	struct mrn_use_once_range range[MRN_USE_ONCE_MAX + 1]; /* by start; may overlap */
};

/* A REMOVE of [start, end) has been read. */
void mrn_use_once_add(struct mrn_use_once *set, uintptr_t start, uintptr_t end);
void mrn_use_once_clear(struct mrn_use_once *set);
bool mrn_use_once_overlaps(struct mrn_use_once *set, uintptr_t start, uintptr_t end);

#endif
