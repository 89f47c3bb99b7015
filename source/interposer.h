/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How libmrn and libmrn-interpose find each other, which are two libraries because nobody should get
 * the second one's munmap without asking for it.
 */
#ifndef MRN_SOURCE_INTERPOSER_H
#define MRN_SOURCE_INTERPOSER_H

#include <stdbool.h>
#include <stdint.h>

#include "os/refused.h"
#include "os/thread.h"

#define MRN_WRAPPERS_MAX 96

/*
 * Called by libmrn-interpose's constructor: its wrappers are in this process, n of them, at most MRN_WRAPPERS_MAX. The first
 * is the likeliest to be written over. NULL for one that is not there.
 */
void mrn_interposer_present(const void *const *wrappers, unsigned int n);

bool mrn_interposer_is_present(void);

/* Remembers what the wrappers look like. */
void mrn_interposer_remember(void);
/* Do they, or the first of them, still look so? Nobody rewrites code but to get in between. */
bool mrn_interposer_is_intact(bool first_only);

/*
 * Inside a bracket of [start, end): stops the events of the whole range, also of parts that no notifier covers. The kernel
 * refuses (EFAULT) to move a range of which parts are watched, where it would move the same range unwatched; and (EBUSY,
 * EINVAL) to give or take another userfaultfd what ours has.
 */
void mrn_source_disarm_range(uintptr_t start, uintptr_t end);

/*
 * Set by a thread that tries the wrappers while it is caught: they do not stand back, and what dispatch says of the same call does not
 * count.
 */
extern MRN_TLS bool mrn_does_not_stand_back;

/*
 * Will dispatch catch, and announce, the call that this thread is about to make? No in doubt, and in dispatch's handler: a call
 * that is announced twice is right.
 */
bool mrn_is_to_be_caught(void);

/* What is not to be called any more: libmrn's own, for libmrn-interpose to keep to. */
const struct mrn_refused *mrn_source_refused(void);

/* In a forked child: closes the copies of its parent's descriptors. Async-signal-safe; may come twice, and in any process. */
void mrn_source_forget_parents(void);

/* Is a source attached to this process's memory, so that somebody may rely on it? */
bool mrn_source_is_attached(void);

/* Does any range notifier of this process overlap [start, end)? */
bool mrn_source_watches(uintptr_t start, uintptr_t end);

#endif
