/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A reader-writer lock in one futex word, zero when free. Sections are short and call no consumer's code.
 *
 * Re-entrant for readers: a signal handler that unmaps memory may read while its own thread is reading: it passes a
 * waiting writer. Its thread cannot be writing, since writers block signals. So a thread never waits for itself, and
 * new readers do not starve waiting writers.
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
