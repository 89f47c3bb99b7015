/* SPDX-License-Identifier: BSD-3-Clause */
/* madvise, process_madvise. */

#include <errno.h>
#include <limits.h>
#include <sys/mman.h>

#include "os/peek.h"
#include "source/bracket/calls.h"
#include "source/bracket/check.h"

#include "os/event_path.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif
#define SOFT_OFFLINE 101 /* not in glibc */
#define GUARD_REMOVE 103 /* Linux 6.13 */

/*
 * Advice that never replaces a page. A list of the harmless, so that advice which the kernel learns later counts as
 * harmful. MERGEABLE is harmless because KSM merges at a time of its own, outside any call, and no pinned pages;
 * UNMERGEABLE is not: it copies pages within the call.
 */
bool mrn_advice_is_harmless(int advice)
{
	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_DONTFORK:
	case MADV_DOFORK:
	case MADV_DONTDUMP:
	case MADV_DODUMP:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_MERGEABLE:
	case MADV_WIPEONFORK:
	case MADV_KEEPONFORK:
	case MADV_COLD:
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		return true;
	default:
		return false;
	}
}

static enum mrn_cause cause_of(int advice)
{
	switch (advice) {
	case MADV_DONTNEED:
		return MRN_CAUSE_DONTNEED;
	case MADV_DONTNEED_LOCKED:
		return MRN_CAUSE_DONTNEED_LOCKED;
	case MADV_FREE:
		return MRN_CAUSE_FREE;
	case MADV_REMOVE:
		return MRN_CAUSE_REMOVE;
	default:
		return MRN_CAUSE_MADVISE;
	}
}

/*
 * What has no cause of its own, and leaves pinned pages where they are: the kernel refuses to move them, or has nothing
 * there to take. What it learns later counts as taking them, as MADV_GUARD_INSTALL does.
 */
static unsigned int flags_of(int advice)
{
	if (MRN_BROKEN(BRACKET_STAYS))
		return 0;
	switch (advice) {
	case MADV_UNMERGEABLE:
	case MADV_PAGEOUT:
	case MADV_COLLAPSE:
	case SOFT_OFFLINE:
	case GUARD_REMOVE:
		return MRN_RANGE_PINS_STAY;
	default:
		return 0;
	}
}

static void add(struct mrn_bracket *b, int advice, uintptr_t start, uintptr_t end)
{
	mrn_bracket_add_cleared(b, cause_of(advice), flags_of(advice), start, end);
}

/* -------------------------------------------------------------------------------------- madvise */

void mrn_bracket_madvise(struct mrn_bracket *b, const void *addr, size_t length, int advice)
{
	uintptr_t start, end;

	mrn_bracket_none(b);
	if (!mrn_advice_is_harmless(advice) && mrn_pages_spanned(addr, length, &start, &end))
		add(b, advice, start, end);
}

/* ------------------------------------------------------------------------------ process_madvise */

/* No call returns it. */
#define NEVER (-4096l)

void mrn_bracket_madvise_anywhere(struct mrn_bracket *b, int advice)
{
	mrn_bracket_none(b);
	add(b, advice, 0, UINTPTR_MAX);
	b->whole = NEVER;
}

/*
 * One token is for all ranges, and covers what is between them. The call returns how many bytes it has come: so all that the
 * token covers has changed if no range is apart from the one before, and it has come to the end.
 *
 * Nothing tells whose memory pidfd means: a process that shares this memory (CLONE_VM) has a pid of its own, and kcmp,
 * which could compare, may be refused. So all ranges are taken for this process's, and another's are invalidated for
 * nothing. count is the kernel's conversion of a size_t: it drops the upper half.
 */
void mrn_bracket_process_madvise(struct mrn_bracket *b, const struct iovec *iov, unsigned int count,
				 int advice)
{
	enum { BATCH = 16 };
	uintptr_t low = UINTPTR_MAX, high = 0;
	struct iovec batch[BATCH];
	bool apart = false;
	size_t bytes = 0;

	mrn_bracket_none(b);
	if (mrn_advice_is_harmless(advice) || count > IOV_MAX ||
	    mrn_bracket_needs_no_look(b, MMU_NOTIFY_CLEAR, cause_of(advice)))
		return;
	for (unsigned int done = 0; done < count; done += BATCH) {
		unsigned int n = count - done < BATCH ? count - done : BATCH;
		int r = mrn_peek(batch, (uintptr_t)(iov + done), n * sizeof(*iov));

		if (r == -EFAULT)
			return;
		if (r < 0) {
			mrn_bracket_madvise_anywhere(b, advice);
			return;
		}
		for (unsigned int i = 0; i < n; i++) {
			uintptr_t start, end;

			if (!mrn_pages_spanned(batch[i].iov_base, batch[i].iov_len, &start, &end))
				continue;
			apart |= bytes && start != high;
			bytes += batch[i].iov_len;
			low = start < low ? start : low;
			high = end > high ? end : high;
		}
	}
	if (low < high)
		add(b, advice, low, high);
	if (!MRN_BROKEN(BRACKET_PARTS))
		b->whole = apart ? NEVER : (long)bytes;
}
