/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of the index: os/check.h. */
#ifndef MRN_INDEX_CHECK_H
#define MRN_INDEX_CHECK_H

#include <stdbool.h>

#include <mrn/index_entry.h>

#include "os/check.h"

MRN_PART(INDEX_AHEAD);	  /* a walk uses what it looked up ahead, even if erased meanwhile */
MRN_PART(INDEX_HINTS);	  /* a hint keeps the place from which its entry has moved */
MRN_PART(FILTER_SPILT);	  /* a mark without room in its line is dropped */
MRN_PART(FILTER_HIGHEST); /* of equal marks the highest is dropped */
MRN_PART(FILTER_ORDER);	  /* a reader reads a line from its end */
MRN_PART(HINT_MEMORY);	  /* not a defect: no memory for hints */
MRN_PART(NO_VECTORS);	  /* not a defect: the portable path in place of vectors */

/* In a section: a walk is about to read a leaf. */
MRN_HOOK_TYPE(leaf, void);
/* In a section: a hint is followed. */
MRN_HOOK_TYPE(hint, const struct mrn_index_entry *e, uintptr_t place);
/* A reader has read n marks of a filter line without finding one. */
MRN_HOOK_TYPE(mark, unsigned int n);

#ifdef MRN_CHECK
/* If n, the index's n-th request for memory fails, and every one after it. 0: none fails. */
MRN_CHECK_WEAK _Atomic unsigned int mrn_check_alloc_left;
static inline bool mrn_check_alloc_fails(void)
{
	unsigned int left = mrn_check_alloc_left;

	/* 0: never fails; 1: always fails. */
	if (left > 1)
		mrn_check_alloc_left = left - 1;
	return left == 1;
}
#define MRN_ALLOC_FAILS() mrn_check_alloc_fails()
#else
#define MRN_ALLOC_FAILS() 0
#endif

#endif
