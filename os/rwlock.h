/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lock of an mm's index and list: readers walk, writers insert and remove. One futex word, zero
 * when free. Sections are short and call nobody's code.
 *
 * Re-entrant where it must be: a signal handler that unmaps memory reads while its own thread may be
 * reading (it is let in past a waiting writer) or writing (cannot be: writers block signals). So a
 * thread never waits for itself, and waiting writers are not starved by new readers.
 */
#ifndef MRN_OS_RWLOCK_H
#define MRN_OS_RWLOCK_H

#include <stdint.h>

#include "os/thread.h"

struct mrn_rwlock {
	uint32_t word;
};

void mrn_read_lock(struct mrn_rwlock *l);
void mrn_read_unlock(struct mrn_rwlock *l);

/* Returns the signal mask that unlock restores. Never from a signal handler. */
mrn_sigmask mrn_write_lock(struct mrn_rwlock *l);
void mrn_write_unlock(struct mrn_rwlock *l, mrn_sigmask mask);

#endif
