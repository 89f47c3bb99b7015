/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An invalidation around a call that changes this process's memory: begin, call, end. Who makes the call
 * is above: a function in front of libc's (source/interpose) or a system call that was caught (source/dispatch).
 *
 * Rules for all of source/bracket: no allocation, no stdio, no lock, errno left alone; may run in a signal
 * handler, inside another bracket of this thread, before any constructor, and in a forked child.
 *
 * A bracket lives on the stack. A signal handler that leaves the call by longjmp, and
 * asynchronous cancellation inside it, leave the token behind, and readers wait for it for ever:
 * POSIX makes neither defined for these calls. Of those that change a file, see held.h.
 */
#ifndef MRN_SOURCE_BRACKET_BRACKET_H
#define MRN_SOURCE_BRACKET_BRACKET_H

#include <mrn/mmu_notifier.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os/pages.h"

struct mrn_bracket {
	struct mmu_notifier_range token[2]; /* mremap has a source and a destination */
	unsigned int nr;
};

static inline void mrn_bracket_none(struct mrn_bracket *b)
{
	b->nr = 0;
}

/*
 * Starts an invalidation of [start, end), rounded outwards to pages, and adds it to *b. At most
 * two. An mm that cannot be had (no memory for it) has no notifier, so there is nobody to tell.
 */
void mrn_bracket_add(struct mrn_bracket *b, enum mmu_notifier_event event, enum mrn_cause cause,
		     uintptr_t start, uintptr_t end);

static inline void mrn_bracket_add_everything(struct mrn_bracket *b, enum mmu_notifier_event event,
					      enum mrn_cause cause)
{
	mrn_bracket_add(b, event, cause, 0, UINTPTR_MAX);
}

/* One token by itself: true when it has been started, and is to be withdrawn. */
bool mrn_bracket_start(struct mmu_notifier_range *token, enum mmu_notifier_event event,
		       enum mrn_cause cause, uintptr_t start, uintptr_t end);
void mrn_bracket_withdraw(struct mmu_notifier_range *token);

/* For a bracket that takes some looking. Is the call dispatch's to announce, or is there no mm? */
bool mrn_bracket_is_anothers(void);
/* Is there no notifier? Who comes later meets the tokens that are there. */
bool mrn_bracket_tells_nobody(void);

/*
 * For a bracket that has to ask what the call may change: true where that is left out, since the call is dispatch's to announce,
 * or nobody is there to be told. Who comes meanwhile meets a token over everything.
 */
bool mrn_bracket_needs_no_look(struct mrn_bracket *b, enum mmu_notifier_event event,
			       enum mrn_cause cause);

/* Ends what was added, last first. Once per bracket; nothing added is fine. */
void mrn_bracket_end(struct mrn_bracket *b);

/* Announces a change that has already been made: MRN_RANGE_AFTER. */
void mrn_bracket_late(enum mmu_notifier_event event, enum mrn_cause cause, uintptr_t start,
		      uintptr_t end);

/*
 * [start, end) has just been given to this process, where nothing was mapped. So whatever a notifier
 * has there is stale: somebody has unmapped it past all wrappers, and the news is still under way.
 */
void mrn_bracket_fresh(uintptr_t start, uintptr_t end);

/*
 * The address that the kernel means. It ignores what is in a pointer's uppermost bits: on aarch64 the top byte, on x86-64 those
 * above five-level paging, in a program that has asked for that (linear address masking). In one that has not, it refuses such an
 * address, and then too much is covered. munmap, madvise, process_madvise, mprotect and mremap's source take one that is
 * tagged; of all others they are refused.
 */
static inline uintptr_t mrn_untagged(const void *addr)
{
#ifdef __aarch64__
	return (uintptr_t)addr & (UINTPTR_MAX >> 8);
#else
	return (uintptr_t)addr & (UINTPTR_MAX >> 7);
#endif
}

/*
 * [addr, addr + length) as every call of the mmap family reads it: addr on a page boundary, length
 * rounded up. False where it is empty or the kernel refuses it, so that nothing can change.
 */
static inline bool mrn_pages_spanned(const void *addr, size_t length, uintptr_t *start,
				     uintptr_t *end)
{
	uintptr_t mask = mrn_page_size() - 1, rounded = (length + mask) & ~mask;

	*start = mrn_untagged(addr);
	*end = *start + rounded;
	return !(*start & mask) && rounded && *end > *start;
}

/* A mapping of huge pages occupies whole ones. See map.c. */
uintptr_t mrn_huge_end(uintptr_t start, uintptr_t end);

#endif
