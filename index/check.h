/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of the index: os/check.h. */
#ifndef MRN_INDEX_CHECK_H
#define MRN_INDEX_CHECK_H

#include <stdbool.h>

#include "os/check.h"

MRN_PART(INDEX_AHEAD);	  /* a walk calls whom it has looked up ahead, erased meanwhile or not */
MRN_PART(FILTER_SPILT);	  /* a mark without room in its line is forgotten */
MRN_PART(FILTER_HIGHEST); /* of marks that are alike the highest one goes */
MRN_PART(FILTER_ORDER);	  /* a reader looks at a line from its end */
MRN_PART(NO_VECTORS);	  /* not a defect: the portable path in place of vectors */

/* In a section: a walk is about to look into a leaf. */
MRN_HOOK_TYPE(leaf, void);
/* A reader has read n marks of a line of the filter, and has yet to find one. */
MRN_HOOK_TYPE(mark, unsigned int n);

#ifdef MRN_CHECK
/* When n is set: the index's n-th request for memory fails, and every one after it. 0: none. */
MRN_CHECK_WEAK _Atomic unsigned int mrn_check_alloc_left;
static inline bool mrn_check_alloc_fails(void)
{
	unsigned int left = mrn_check_alloc_left;

	/* 0 is never; from the one that has come to 1 on, always. */
	if (left > 1)
		mrn_check_alloc_left = left - 1;
	return left == 1;
}
#define MRN_ALLOC_FAILS() mrn_check_alloc_fails()
#else
#define MRN_ALLOC_FAILS() 0
#endif

#endif
