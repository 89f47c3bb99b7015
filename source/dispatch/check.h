/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of dispatch: os/check.h. */
#ifndef MRN_SOURCE_DISPATCH_CHECK_H
#define MRN_SOURCE_DISPATCH_CHECK_H

#include "os/check.h"

MRN_PART(DISPATCH_LEAVE);      /* dispatch stays where a filter will not let it go on */
MRN_PART(DISPATCH_NO_STACK);   /* rsp is taken for a stack's, whatever it is */
MRN_PART(DISPATCH_OWN);	       /* our handler stays where the program has a dispatch of its own */
MRN_PART(DISPATCH_TRIAL);      /* it is not tried whether dispatch works */
MRN_PART(DISPATCH_TRACER);     /* a thread is caught though it is traced */
MRN_PART(DISPATCH_NUMBERS);    /* a thread's number is taken for what /proc calls it */
MRN_PART(DISPATCH_SHARED);     /* of threads that have one storage, one alone is armed */
MRN_PART(DISPATCH_ASK);	       /* threads that are there already are not armed */
MRN_PART(DISPATCH_LIBCS);      /* threads are asked by a signal that they may wait for */
MRN_PART(DISPATCH_NEW);	       /* new threads are not armed */
MRN_PART(DISPATCH_MASKS);      /* the program may block SIGSYS */
MRN_PART(DISPATCH_KEPT);       /* nobody keeps a SIGSYS that the program blocks */
MRN_PART(DISPATCH_SIGNALS);    /* signals may come while a caught call is made */
MRN_PART(DISPATCH_SIGSYS);     /* the program may take SIGSYS */
MRN_PART(DISPATCH_SETTLE);     /* nobody waits for calls on their way to the handler */
MRN_PART(DISPATCH_RINGS);      /* an io_uring is made and nobody knows */
MRN_PART(DISPATCH_GUESTS);     /* a vfork's child changes memory and nobody minds */
MRN_PART(DISPATCH_STAND_BACK); /* the interposer stands back in it, too */
MRN_PART(DISPATCH_ALTSTACK);   /* the handler stays where the program changes memory */
MRN_PART(DISPATCH_ROOM);       /* or on it, where there is no room */
MRN_PART(DISPATCH_OTHERS);     /* or another's alternate one */
MRN_PART(DISPATCH_FS);	       /* it stays where fs may be the program's own */
MRN_PART(DISPATCH_OWN_STACK);  /* and where a thread takes its own stack away */

#endif
