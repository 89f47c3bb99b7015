/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hook in a child that libc's fork has not made, so that no fork handlers run: _Fork, clone, the system calls. For
 * libmrn-watch, which follows children.
 */
#ifndef MRN_SOURCE_CHILD_H
#define MRN_SOURCE_CHILD_H

#include <stdbool.h>

/*
 * may_act: the stack has room for more than a few words. False from dispatch, in the handler of a caught call; that
 * call may also be libc's fork, whose handlers are yet to run. On the event path; the interposer and dispatch may both
 * report the same child.
 */
void mrn_child_ask(void (*is_here)(bool may_act));

void mrn_child_is_here(bool may_act);

#endif
