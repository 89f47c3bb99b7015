/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A set of address ranges, ascending and disjoint, of bounded number: one too many fills the smallest gap between two
 * neighbours. So a set never covers too little, however many ranges it is given.
 */
#ifndef MRN_SOURCE_BRACKET_SPANS_H
#define MRN_SOURCE_BRACKET_SPANS_H

#include <stdbool.h>
#include <stdint.h>

struct mrn_span {
	uintptr_t start, end;
};

/* Adds [start, end) to the n of set, which has room for max + 1. Returns their new number, max at most. */
unsigned int mrn_spans_add(struct mrn_span *set, unsigned int n, unsigned int max, uintptr_t start,
			   uintptr_t end);

/* True if all of [start, end) is in the set. */
bool mrn_spans_hold(const struct mrn_span *set, unsigned int n, uintptr_t start, uintptr_t end);

#endif
