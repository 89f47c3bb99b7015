/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of dispatch: os/check.h. */
#ifndef MRN_SOURCE_DISPATCH_CHECK_H
#define MRN_SOURCE_DISPATCH_CHECK_H

#include "os/check.h"

MRN_PART(DISPATCH_LEAVE);      /* dispatch stays where a filter will not let it go on */
MRN_PART(DISPATCH_NO_STACK);   /* rsp is always taken for a stack */
MRN_PART(DISPATCH_OWN);	       /* our handler stays where the program has a dispatch of its own */
MRN_PART(DISPATCH_TRIAL);      /* dispatch is not tried before it starts */
MRN_PART(DISPATCH_TRACER);     /* a traced thread is caught */
MRN_PART(DISPATCH_NUMBERS);    /* a thread's name in /proc is taken for its number */
MRN_PART(DISPATCH_SHARED);     /* of threads that share one storage, only one is armed */
MRN_PART(DISPATCH_ASK);	       /* existing threads are not armed */
MRN_PART(DISPATCH_LIBCS);      /* threads are asked by a signal that they may wait for */
MRN_PART(DISPATCH_NEW);	       /* new threads are not armed */
MRN_PART(DISPATCH_MASKS);      /* the program may block SIGSYS */
MRN_PART(DISPATCH_KEPT);       /* a SIGSYS that the program blocks is not kept */
MRN_PART(DISPATCH_SIGNALS);    /* signals may come while a caught call is made */
MRN_PART(DISPATCH_SIGSYS);     /* the program may take SIGSYS */
MRN_PART(DISPATCH_SETTLE);     /* stop does not wait for calls on their way to the handler */
MRN_PART(DISPATCH_RINGS);      /* a new io_uring tells nobody */
MRN_PART(DISPATCH_GUESTS);     /* a vfork's child may change memory unnoticed */
MRN_PART(DISPATCH_STAND_BACK); /* the interposer stands back in it, too */
MRN_PART(DISPATCH_ALTSTACK);   /* the handler stays on an alternate stack that the call changes */
MRN_PART(DISPATCH_ROOM);       /* ... on one that is too small */
MRN_PART(DISPATCH_OTHERS);     /* ... on one that another thread's call changes */
MRN_PART(DISPATCH_FS);	       /* threads stay caught where fs may be the program's own */
MRN_PART(DISPATCH_OWN_STACK);  /* ... and where a thread takes its own stack away */
MRN_PART(DISPATCH_OBSERVED);   /* the program keeps arguments that an observer has changed */

#endif
