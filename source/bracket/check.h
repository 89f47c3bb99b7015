/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of the announcement of calls: os/check.h. */
#ifndef MRN_SOURCE_BRACKET_CHECK_H
#define MRN_SOURCE_BRACKET_CHECK_H

#include "os/check.h"

MRN_PART(BRACKET_PRE_ONLY);  /* an interposed call invalidates before, and holds no token */
MRN_PART(BRACKET_POST_ONLY); /* an interposed call invalidates only afterwards */
MRN_PART(BRACKET_CHANGING);  /* what is known of a range is taken for true after its change */
MRN_PART(BRACKET_FAILED);    /* a call that fails is not told from one that does not */
MRN_PART(BRACKET_FRESH);     /* a reused address is not taken for a new one */
MRN_PART(BRACKET_HULL);	     /* one token covers all mappings of a file and the gaps between */
MRN_PART(BRACKET_HUGE);	     /* pages are not asked whether they are huge */
MRN_PART(BRACKET_NESTED);    /* a fork in a handler that interrupts a fork shares its token */
MRN_PART(BRACKET_PARTS);     /* what is between the ranges of a call counts as changed */
MRN_PART(BRACKET_SIGNALS);   /* a handler may jump out of the announcement of a file's change */
MRN_PART(BRACKET_LOOKS);     /* the bracket asks what a call changes even if nobody is to be told */
MRN_PART(BRACKET_FREE);	     /* free and realloc are not bracketed */
MRN_PART(BRACKET_STAYS);     /* advice that leaves pinned pages is not told apart */
MRN_PART(HEAP_ENDS);	     /* a thread that ends is not taken for one inside malloc */

/* free of a block in a thread's heap is over, but its thread has not said so. */
MRN_HOOK_TYPE(freed, void);

#endif
