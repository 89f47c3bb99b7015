/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who is told of being in a child that libc's fork has not made, and so runs no handler of fork's: _Fork, clone, the system calls. That is
 * libmrn-watch alone, which follows children.
 */
#ifndef MRN_SOURCE_CHILD_H
#define MRN_SOURCE_CHILD_H

#include <stdbool.h>

/*
 * may_act: the stack has room for more than a few words. Where dispatch tells it has not, in the handler of a caught call; and that may be
 * libc's fork, too, whose handlers are yet to run. On the event path; both the interposer and dispatch may tell of the same child.
 */
void mrn_child_ask(void (*is_here)(bool may_act));

void mrn_child_is_here(bool may_act);

#endif
