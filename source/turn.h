/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whose turn it is to attach or to detach: one thread's at a time, and no signal handler of the program's runs in it
 * meanwhile, which might fork and so leave the child in the middle.
 *
 * The lock is in the pages that a forked child finds zeroed. So a fork takes nothing and waits for nobody, wherever it is made:
 * by another thread while this one attaches, in a handler that has interrupted another fork, past libc. The child finds
 * the lock free, and its parent's source stale.
 */
#ifndef MRN_SOURCE_TURN_H
#define MRN_SOURCE_TURN_H

#include "os/thread.h"

/* Waits for it, with signals as they are; then blocks them. *mask is for mrn_turn_end. There is a mrn_source_process. */
void mrn_turn_begin(mrn_sigmask *mask);
void mrn_turn_end(mrn_sigmask mask);

#endif
