/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Room for mappings. To arm a range splits the mappings that it begins and ends in, and a process may have so many and no
 * more (vm.max_map_count): an application whose own mmap fails has nothing of a cache that is large. So nothing is armed
 * where the process, with its own mappings, has half of what it may have; those ranges are good for one use.
 *
 * What arming has split, and disarming, unmapping and moving have joined again, only the kernel knows. So mappings are
 * counted, which takes a time that grows with them: once in as many arms as surely fit, each counted as two; and while
 * there is no room, once in as many chances as make the time small. Without /proc, and in a sandbox, which may not know open, they
 * cannot be counted: then each notifier counts as two, since what is armed has one, and the program's own are not known.
 */
#ifndef MRN_SOURCE_UFFD_ROOM_H
#define MRN_SOURCE_UFFD_ROOM_H

#include <stdbool.h>
#include <stdint.h>

struct mrn_mm;

struct mrn_room {
	const struct mrn_mm *mm;
	uint64_t limit; /* of mappings, with which nothing more is armed */
	/* Atomic. */
	uint64_t arms; /* so many ranges may be armed before the next count */
	uint64_t
		chances; /* so many ranges want to be armed, or are disarmed, before the next count */
	uint32_t counting;
};

/* For mm, the process's. Reads the system's limit. */
void mrn_room_init(struct mrn_room *room, const struct mrn_mm *mm);
/* May one more range be armed? May count; must not be called with a lock held that the event path takes. */
bool mrn_room_take(struct mrn_room *room);
/* Nothing of it has been armed. */
void mrn_room_give_back(struct mrn_room *room);
/* Something has been disarmed: there may be room again. */
void mrn_room_may_have_grown(struct mrn_room *room);

#endif
