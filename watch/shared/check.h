/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of the recorder and of what reads its log: os/check.h. */
#ifndef MRN_WATCH_CHECK_H
#define MRN_WATCH_CHECK_H

#include "os/check.h"

MRN_PART(WATCH_DROPS);	/* what does not fit into the ring is not counted */
MRN_PART(WATCH_FULL);	/* what has no room in the list of code leaves there what it replaces */
MRN_PART(WATCH_ORIGIN); /* the file at a path is taken for the one that was run */
MRN_PART(WATCH_OVER);	/* code that is unmapped is not marked */
MRN_PART(WATCH_RENEW);	/* all of a ring is looked at when its lane is given back */
MRN_PART(WATCH_SKIP);	/* a slot that is never filled is waited for */
MRN_PART(WATCH_STACK);	/* the stack is read whether it is known to be there or not */
MRN_PART(WATCH_TURN);	/* a slot is written whether it has been read or not */

#endif
