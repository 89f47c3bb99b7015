/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of the announcement of calls: os/check.h. */
#ifndef MRN_SOURCE_BRACKET_CHECK_H
#define MRN_SOURCE_BRACKET_CHECK_H

#include "os/check.h"

MRN_PART(BRACKET_PRE_ONLY);  /* an interposed call invalidates before, and holds no token */
MRN_PART(BRACKET_POST_ONLY); /* an interposed call invalidates only afterwards */
MRN_PART(BRACKET_FRESH);     /* an address that comes back is not taken for a new one */
MRN_PART(BRACKET_HULL);	     /* one token over all mappings of a file, and what is between */
MRN_PART(BRACKET_NESTED);    /* a fork in a handler that interrupts a fork has the same token */
MRN_PART(BRACKET_SIGNALS);   /* a handler may jump out of the announcement of a file's change */
MRN_PART(BRACKET_LOOKS);     /* it is asked what a call changes though nobody is to be told */
MRN_PART(BRACKET_FREE);	     /* free and realloc are not bracketed */

#endif
