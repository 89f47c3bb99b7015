/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a checked process writes to its lane besides the ring (watch/shared/log.h): the stacks that it has seen, and its
 * findings, each once, with a count. It is shared memory, so what a process has found is there when it is killed. What is
 * not certain yet has a place of its own meanwhile, so that each report speaks of the memory that it is about.
 *
 * Many threads and signal handlers add, and nobody waits: a place in a table is claimed by storing its key, by
 * compare-and-swap from 0, and is complete when ready is set (release). Whoever finds its own key there already is done:
 * for a stack, the number of the place is all that it needs, whether or not the place is complete by then. A process
 * that is killed in between leaves a place that is never ready, and the tool passes over it.
 */
#ifndef MRN_CHECK_LOG_H
#define MRN_CHECK_LOG_H

#include <stdint.h>

#include "check/shared/kinds.h"

#define CHECK_FRAMES   24
#define CHECK_STACKS   8192
#define CHECK_FINDINGS 2048
#define CHECK_OPEN_MAX 2048

struct check_stack {
	uint64_t key; /* atomic; 0: free */
	uint32_t ready, nr;
	uint64_t since;		   /* CLOCK_MONOTONIC: which code was where then */
	uint64_t pc[CHECK_FRAMES]; /* return addresses, the innermost first */
};

/* Stacks are numbers: 1 + an index; 0: not known. */
struct check_finding {
	uint64_t key; /* atomic; 0: free */
	uint32_t ready;
	uint32_t count; /* atomic */
	uint32_t item;	/* the tool's: 1 + its number there */
	/* Of the grade change: where the registration has ended since, and when; 0: not yet. */
	uint32_t ended;
	uint64_t ended_at; /* atomic, CLOCK_MONOTONIC; stored last */
	/* All that follows is of the first one that was certain. */
	uint8_t grade, of, cause, now; /* enum check_... */
	uint8_t unsure;		       /* the call that makes the change has not returned */
	uint32_t registered, changed, used;
	uint32_t pid, tid; /* of the thread that used it, or changed it if that is the finding */
	uint64_t name;	   /* of the registration */
	uint64_t start, length;		     /* the registration's */
	uint64_t changed_at;		     /* of the grade change: when that began */
	uint64_t changed_start, changed_end; /* those of its pages that were found changed */
	uint64_t used_start, used_length;
	char op[24]; /* "WRITE_FIXED" */
};

/* Atomic. */
struct check_counts {
	uint64_t registrations;
	uint64_t changes; /* of registered memory */
	uint64_t uses;
	uint64_t flights;
	uint64_t settled;    /* uses of changed memory whose pages turned out to be the same */
	uint64_t no_memory;  /* registrations that could not be followed */
	uint64_t given_up;   /* flights */
	uint64_t no_stack;   /* stacks for which there was no room */
	uint64_t no_finding; /* findings for which there was none */
};

struct check_log {
	struct check_counts counts;
	uint32_t findings; /* atomic: how many are certain */
	uint32_t seen;	   /* the tool's: how many it has taken in */
	uint32_t used;	   /* atomic; set before the first place of a table is claimed */
	struct check_finding finding[CHECK_FINDINGS];
	/* Not certain yet, each by itself: its count is 1. What is here when the process has gone is unsure. */
	struct check_finding open[CHECK_OPEN_MAX];
	struct check_stack stack[CHECK_STACKS];
};

#endif
