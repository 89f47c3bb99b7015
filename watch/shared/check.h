/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of the recorder and of what reads its log: os/check.h. */
#ifndef MRN_WATCH_CHECK_H
#define MRN_WATCH_CHECK_H

#include "os/check.h"

MRN_PART(WATCH_DROPS);	  /* records that do not fit into the ring are not counted */
MRN_PART(WATCH_FULL);	  /* code without room in the list does not mark what it replaces */
MRN_PART(WATCH_ORIGIN);	  /* the file at a path is taken for the one that was run */
MRN_PART(WATCH_OVER);	  /* unmapped code is not marked */
MRN_PART(WATCH_RENEW);	  /* all of a ring is reset when its lane is given back */
MRN_PART(WATCH_SKIP);	  /* a slot that is never filled is waited for */
MRN_PART(WATCH_STACK);	  /* the stack is read even if it is not known to be readable */
MRN_PART(WATCH_SUPPOSED); /* a stack pointer that was read is not doubted */
MRN_PART(WATCH_TABLE);	  /* an unwind table is read beyond its bounds */
MRN_PART(WATCH_TURN);	  /* a slot is written before it has been read */

#endif
