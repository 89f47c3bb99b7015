/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ranges that are good for one use at a time, until whoever may be zapping them is gone: a set of bounded size, which
 * errs on the safe side. Nobody is told when a zap is over: a look-up finds out, where malloc zaps. Where anybody may
 * be zapping, a look at all threads finds out, now and then (quiet.h).
 *
 * The keeper adds. Any other thread blocks signals before it looks: a handler that interrupted it and changed memory
 * would wait for the keeper, and the keeper for the set's lock.
 */
#ifndef MRN_SOURCE_UFFD_USE_ONCE_H
#define MRN_SOURCE_UFFD_USE_ONCE_H

#include <mrn/source.h>
#include <stdbool.h>
#include <stdint.h>

#include "os/mutex.h"
#include "source/uffd/quiet.h"
#include "source/uffd/zappers.h"

#define MRN_USE_ONCE_MAX 64

struct mrn_use_once_range {
	uintptr_t start, end;
	uint64_t number; /* of the REMOVE that was added last */
	struct mrn_zappers zappers;
};

struct mrn_use_once {
	struct mrn_mutex lock;
	unsigned int n;					       /* atomic; written under lock */
	struct mrn_use_once_range range[MRN_USE_ONCE_MAX + 1]; /* by start; may overlap */
	uint64_t added;					       /* REMOVEs */
	uint64_t ended;
	/* Atomic, when to look at all threads: once in `pause` chances, twice as seldom after each look in vain. */
	uint32_t chances, pause, looking;
	bool can_look;	/* known from the beginning: a look is made in any of the program's calls */
	uint64_t looks; /* atomic */
	/* Atomic. A futex that goes up when something is added, or the set is emptied; and whether anybody waits there. */
	uint32_t turns;
	bool is_watched;
};

/* A REMOVE of [start, end) has been read; trimming: mrn_zappers_in_trim from before. */
void mrn_use_once_add(struct mrn_use_once *set, uintptr_t start, uintptr_t end,
		      const struct mrn_zappers *trimming);
/* Empties the set. Not on the event path: asks which kernel it is. */
void mrn_use_once_clear(struct mrn_use_once *set);
/*
 * A chance to look at all threads. Call where a range was found, without a lock, and not on the event path. What is over
 * is taken out, for later look-ups.
 */
void mrn_use_once_look(struct mrn_use_once *set);
/*
 * A look at once, in any case. True if all threads are elsewhere, and so all is over that had been added before; otherwise
 * fills in *obstacle.
 */
bool mrn_use_once_look_now(struct mrn_use_once *set, struct mrn_obstacle *obstacle);
/* From now on whoever sleeps on turns is woken by each addition; or no longer. */
void mrn_use_once_watch(struct mrn_use_once *set, bool is_watched);
/* Wakes him. Event path. */
void mrn_use_once_wake(struct mrn_use_once *set);
/* Why [start, end) is good for one use, of the parts of it that are: MRN_ONCE_BIT(...); 0 if none is. */
uint64_t mrn_use_once_reasons(struct mrn_use_once *set, uintptr_t start, uintptr_t end);

/* A part of the set whose bytes have the same reasons. */
struct mrn_use_once_piece {
	uintptr_t start, end;
	uint64_t reasons; /* MRN_ONCE_BIT(...) */
};
/* Each range begins one piece, and ends one. */
#define MRN_USE_ONCE_PIECES (2 * MRN_USE_ONCE_MAX)

/* All of the set, by address, in pieces that do not overlap. Returns how many. */
unsigned int mrn_use_once_pieces(struct mrn_use_once *set,
				 struct mrn_use_once_piece piece[MRN_USE_ONCE_PIECES]);
/* Fills in the figures. */
void mrn_use_once_count(struct mrn_use_once *set, struct mrn_source_stats *stats);

#endif
