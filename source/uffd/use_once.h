/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ranges that are good for one use at a time, for ever: a set of bounded size, which errs on the safe side.
 *
 * The keeper adds. Any other thread blocks signals before it looks: a handler that interrupted it and changed memory
 * would wait for the keeper, and the keeper for the set's lock.
 */
#ifndef MRN_SOURCE_UFFD_USE_ONCE_H
#define MRN_SOURCE_UFFD_USE_ONCE_H

#include <stdbool.h>
#include <stdint.h>

#include "os/mutex.h"
#include "source/bracket/spans.h"

#define MRN_USE_ONCE_MAX 64

struct mrn_use_once {
	struct mrn_mutex lock;
	unsigned int n;
	struct mrn_span range[MRN_USE_ONCE_MAX + 1];
};

void mrn_use_once_add(struct mrn_use_once *set, uintptr_t start, uintptr_t end);
void mrn_use_once_clear(struct mrn_use_once *set);
bool mrn_use_once_overlaps(struct mrn_use_once *set, uintptr_t start, uintptr_t end);

#endif
