/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a driver holds. It is counted where it is taken and given back; what is left when the driver is closed is a
 * leak. The counts are the process's: one run at a time.
 */
#ifndef LAB_HELD_H
#define LAB_HELD_H

#include <stdbool.h>
#include <stdint.h>

struct lab;

enum lab_kind {
	LAB_NOTIFIERS, /* counted by the mm, and only read here */
	LAB_ENGINES,
	LAB_MM_USERS,
	LAB_THREADS, /* an engine's, too */
	LAB_DEVICES, /* with memory */
	LAB_PAGE_TABLES,
	LAB_FENCES,
	LAB_ALLOCATIONS,
	LAB_KINDS
};

struct lab_census {
	int64_t count[LAB_KINDS];
};

void lab_hold(enum lab_kind kind);
void lab_let_go(enum lab_kind kind);

/* Call before open. */
void lab_census_take(struct lab *lab, struct lab_census *census);
/* Call after close: a finding for each kind of which there is more than before. */
void lab_census_compare(struct lab *lab, const struct lab_census *before);
/* True if something is left through which the driver may still be reached: then its memory must stay. */
bool lab_census_is_alive(struct lab *lab, const struct lab_census *before);
/*
 * Call at the very end: the region's contents are discarded, so that only pins still hold frames. A finding for frames
 * that are still in use.
 */
void lab_check_frames(struct lab *lab);

#endif
