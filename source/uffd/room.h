/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Room for mappings. Arming a range splits the mappings in which it begins and ends, and a process may have only
 * vm.max_map_count of them: a large cache must not make the application's own mmap fail. So nothing is armed once the
 * process has half of the mappings allowed, its own included; such ranges are good for one use.
 *
 * Only the kernel knows which split mappings have been joined again by disarming, unmapping and moving. So mappings are
 * counted, in a time that grows with their number: once in as many arms as surely fit, each counted as two; and while
 * there is no room, once in as many chances as make that time small. Without /proc, or in a sandbox, which may forbid
 * open, they cannot be counted: then each notifier counts as two, and each range that stays armed without one; the
 * program's own mappings are not known.
 */
#ifndef MRN_SOURCE_UFFD_ROOM_H
#define MRN_SOURCE_UFFD_ROOM_H

#include <stdbool.h>
#include <stdint.h>

struct mrn_mm;

struct mrn_room {
	const struct mrn_mm *mm;
	uint64_t limit; /* of mappings; at this many nothing more is armed */
	/* Atomic. */
	uint64_t arms;	    /* ranges that may be armed before the next count */
	uint64_t chances;   /* requests to arm, and disarms, before the next count */
	uint64_t reuses;    /* ranges that may be armed in place of others before it */
	uint64_t futile;    /* requests before anybody looks again for a range without a notifier */
	uint64_t meanwhile; /* ranges that other threads may arm during it */
	uint32_t counting;
};

/* How many ranges may stay armed without a notifier: with a sixteenth of the limit, a program that needs nearly all of its
 * mappings finds them.
 */
static inline unsigned int mrn_room_idle(const struct mrn_room *room)
{
	return (unsigned int)(room->limit / 16);
}

/* For mm, the process's. Reads the system's limit. */
void mrn_room_init(struct mrn_room *room, const struct mrn_mm *mm);
/*
 * True if one more range may be armed. lasting: how many are armed that may have no notifier. May count: do not call with
 * a lock held that the event path takes.
 */
bool mrn_room_take(struct mrn_room *room, unsigned int lasting);
/* Call if nothing of the range has been armed. */
void mrn_room_give_back(struct mrn_room *room);
/* Call after a disarm: there may be room again. */
void mrn_room_may_have_grown(struct mrn_room *room);
/* False for a while after none was found: do not look for a range that could make room. */
bool mrn_room_may_reuse(struct mrn_room *room);
void mrn_room_cannot_reuse(struct mrn_room *room);
/* A range that had taken room was disarmed: another may take it, so many times between two counts. */
void mrn_room_reuse(struct mrn_room *room);
/* Call after many: count again. */
void mrn_room_has_grown(struct mrn_room *room);

#endif
