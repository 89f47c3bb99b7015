/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An invalidation around a call that changes this process's memory: begin, call, end. The layer above makes the call: a
 * function in front of libc's (source/interpose), or dispatch for a system call that it has caught (source/dispatch).
 *
 * Rules for all of source/bracket: no allocation, no stdio, no lock, errno left alone; may run in a signal handler,
 * inside another bracket of this thread, before any constructor, and in a forked child.
 *
 * A bracket lives on the stack. A signal handler that leaves the call by longjmp, and asynchronous cancellation inside
 * it, leave the token behind, and readers wait for it for ever: POSIX defines neither for these calls. For calls that
 * change a file, see held.h.
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
	/* What a call returns that has changed all of that, if another value says that it was a part; or 0. */
	long whole;
};

static inline void mrn_bracket_none(struct mrn_bracket *b)
{
	b->nr = 0;
	b->whole = 0;
}

/* After a call that has returned r: it may have changed a part. */
static inline bool mrn_bracket_is_part(const struct mrn_bracket *b, long r)
{
	return b->whole && b->whole != r;
}

/*
 * Starts an invalidation of [start, end), rounded outwards to pages, and adds it to *b; at most two. If there was no
 * memory for an mm, there is no notifier, and nothing to do.
 */
void mrn_bracket_add(struct mrn_bracket *b, enum mmu_notifier_event event, enum mrn_cause cause,
		     uintptr_t start, uintptr_t end);
/* The same, of pages that are replaced, with flags of mmu_notifier_range. */
void mrn_bracket_add_cleared(struct mrn_bracket *b, enum mrn_cause cause, unsigned int flags,
			     uintptr_t start, uintptr_t end);

static inline void mrn_bracket_add_everything(struct mrn_bracket *b, enum mmu_notifier_event event,
					      enum mrn_cause cause)
{
	mrn_bracket_add(b, event, cause, 0, UINTPTR_MAX);
}

/* Starts one token by itself, with flags of its own. If true, withdraw it; failed as for mrn_bracket_end. */
bool mrn_bracket_start(struct mmu_notifier_range *token, enum mmu_notifier_event event,
		       enum mrn_cause cause, unsigned int flags, uintptr_t start, uintptr_t end);
void mrn_bracket_withdraw(struct mmu_notifier_range *token, bool failed);

/* For a bracket that has to ask the kernel: true if dispatch announces the call, or there is no mm. */
bool mrn_bracket_is_anothers(void);
/* True if there is no notifier. One that is inserted later meets the tokens of that time. */
bool mrn_bracket_tells_nobody(void);

/*
 * For a bracket that has to ask what the call may change: true if it need not, since dispatch announces the call, or
 * nobody would be told. A notifier inserted meanwhile meets a token over everything.
 */
bool mrn_bracket_needs_no_look(struct mrn_bracket *b, enum mmu_notifier_event event,
			       enum mrn_cause cause);

/*
 * Ends what was added, last first. Call once per bracket, even an empty one. failed: the call has, or it says that it has
 * moved nothing, or not all; so there may have been no change.
 */
void mrn_bracket_end(struct mrn_bracket *b, bool failed);

/* Announces a change that has already been made: MRN_RANGE_AFTER; failed: by a call that has failed. */
void mrn_bracket_late(enum mmu_notifier_event event, enum mrn_cause cause, uintptr_t start,
		      uintptr_t end, bool failed);

/*
 * [start, end) has just been given to this process as free addresses. So what a notifier has there is stale: something
 * unmapped it past all wrappers, and the news is still under way.
 */
void mrn_bracket_fresh(uintptr_t start, uintptr_t end);

/*
 * The address as the kernel reads it. It ignores the uppermost bits of a pointer: on aarch64 the top byte; on x86-64
 * those above five-level paging, if the program has enabled linear address masking. If not, the kernel refuses such an
 * address, and the bracket covers too much. munmap, madvise, process_madvise, mprotect and mremap's source accept a
 * tagged address; all others refuse it.
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
 * [addr, addr + length) as every call of the mmap family reads it: addr on a page boundary, length rounded up. False if
 * it is empty or the kernel refuses it, so that nothing can change.
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
