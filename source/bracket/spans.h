/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Address ranges, ascending and apart from each other, a bounded number of them: when there would be one too many, the
 * smallest gap between two neighbours is filled in. So a set is never too small, however many ranges it is given.
 */
#ifndef MRN_SOURCE_BRACKET_SPANS_H
#define MRN_SOURCE_BRACKET_SPANS_H

#include <stdbool.h>
#include <stdint.h>

struct mrn_span {
	uintptr_t start, end;
};

/* Adds [start, end) to the n of set, which has room for max + 1. Returns how many there are now, max at most. */
unsigned int mrn_spans_add(struct mrn_span *set, unsigned int n, unsigned int max, uintptr_t start,
			   uintptr_t end);

/* Is all of [start, end) in it? */
bool mrn_spans_hold(const struct mrn_span *set, unsigned int n, uintptr_t start, uintptr_t end);

#endif
