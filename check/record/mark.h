/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a change has met, from its start until its end: only there it is known whether it was one. A call that has failed has
 * moved nothing, or some pages. Whoever is told of a start adds a mark for each thing that it meets, and the mark is settled
 * at the end. A change that has no end (its thread is gone, or a handler has jumped out of the call) stays open, as whoever
 * keeps the things has it, until its token's place serves again. Of such a call nobody knows whether it has begun, so its
 * marks are settled by what is there.
 *
 * On the event path, as all of this.
 */
#ifndef MRN_CHECK_MARK_H
#define MRN_CHECK_MARK_H

#include <mrn/mmu_notifier.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check/record/pool.h"

enum check_ending {
	CHECK_END_MADE,
	CHECK_END_FAILED, /* or moved nothing: some pages may have gone all the same */
	CHECK_END_LEFT,	  /* it has not returned, and never will */
};

struct check_mark {
	struct check_pooled pooled;
	/* range: how the change was announced; of one that was left, without its addresses. */
	void (*settle)(const struct check_mark *mark, const struct mmu_notifier_range *range,
		       enum check_ending ending);
	/* The rest is the settler's. */
	uint32_t number,
		state;	  /* of what is met, and what tells it from what has its place later */
	uint32_t finding; /* 0, or one that is counted if there was a change: finding.h */
	uint32_t how;	  /* page.h */
	bool pinned;
	uint64_t was; /* of the page map */
	uintptr_t start, end;
	uint32_t next; /* private, a number */
};

/* Keeps a copy until the end; without room, settles it at once, as a change. */
void check_mark_add(const struct check_mark *mark, const struct mmu_notifier_range *range);
/* The end of a change. As an observer's doubts, and a list notifier's end, which finds nothing after the former. */
void check_marks_doubt(const struct mmu_notifier_range *range);
void check_marks_end(const struct mmu_notifier_range *range);
/* In a forked child: its parent's changes never end here. */
void check_marks_restart(void);

#endif
