/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes attach and detach run in one thread at a time, with the program's signal handlers blocked: a handler might
 * fork, and leave the child in the middle.
 *
 * The lock is in pages that a forked child finds zeroed. So a fork takes no lock and waits for nobody, wherever it is
 * made: in another thread while this one attaches, in a handler that interrupts another fork, past libc. The child
 * finds the lock free, and its parent's source stale.
 */
#ifndef MRN_SOURCE_TURN_H
#define MRN_SOURCE_TURN_H

#include "os/thread.h"

/*
 * Waits for the lock, with signals unchanged; then blocks them. Pass *mask to mrn_turn_end. Needs a mrn_source_process.
 */
void mrn_turn_begin(mrn_sigmask *mask);
void mrn_turn_end(mrn_sigmask mask);

#endif
