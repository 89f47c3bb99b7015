/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How libmrn and libmrn-interpose find each other. They are two libraries so that replacing munmap is opt-in.
 */
#ifndef MRN_SOURCE_INTERPOSER_H
#define MRN_SOURCE_INTERPOSER_H

#include <stdbool.h>
#include <stdint.h>

#include "os/refused.h"
#include "os/thread.h"

#define MRN_WRAPPERS_MAX 96

/*
 * Called by libmrn-interpose's constructor: n wrappers are in this process, at most MRN_WRAPPERS_MAX. The likeliest to
 * be overwritten comes first. NULL for a missing one.
 */
void mrn_interposer_present(const void *const *wrappers, unsigned int n);

bool mrn_interposer_is_present(void);

/* Remembers the wrappers' first bytes. */
void mrn_interposer_remember(void);
/* False if the wrappers, or only the first, have changed: code is overwritten only to intercept calls. */
bool mrn_interposer_is_intact(bool first_only);

/*
 * Event path. Inside a bracket of [start, end), or for memory that nobody else knows of yet: disarms what has been armed
 * there, and forgets what is known of it.
 */
void mrn_source_changing(uintptr_t start, uintptr_t end);
/* True if anything is known of this process's memory, also where no notifier is. */
bool mrn_source_remembers(void);

/*
 * Inside a bracket of [start, end): stops the events of the whole range, also of parts that nobody has armed. The kernel
 * refuses to move a range that is armed in parts (EFAULT), and to give another userfaultfd what ours has, or take it
 * away (EBUSY, EINVAL).
 */
void mrn_source_disarm_range(uintptr_t start, uintptr_t end);

/*
 * Set by a thread that tries the wrappers while it is caught: they announce all the same, and what dispatch announces
 * does not count.
 */
extern MRN_TLS bool mrn_does_not_stand_back;

/*
 * True if dispatch will catch, and announce, this thread's next call. False in doubt, and in dispatch's handler:
 * announcing a call twice is correct.
 */
bool mrn_is_to_be_caught(void);

/* The calls that must not be made any more: libmrn's set, which libmrn-interpose keeps to as well. */
const struct mrn_refused *mrn_source_refused(void);

/*
 * In a forked child: closes the copies of its parent's descriptors. Async-signal-safe; may be called twice, and in any
 * process.
 */
void mrn_source_forget_parents(void);

/* True if functions of malloc's are to call the next function: the order of locks is looked at (core/lock_order.h). */
bool mrn_interposer_looks_at_order(void);
/* The function that is called so, by caller, may change any of this process's memory. */
void mrn_interposer_look_at_order(const char *function, const void *caller);

/* True if a source is attached to this process's memory, so that somebody may rely on it. */
bool mrn_source_is_attached(void);

/* True if a range notifier of this process overlaps [start, end). */
bool mrn_source_watches(uintptr_t start, uintptr_t end);

#endif
