/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A registration cache while its memory changes: one thread registers the place all the time, another one makes the
 * change. What the cache hands out afterwards must be of the new pages.
 */
#ifndef COVERAGE_CAUSE_RACE_H
#define COVERAGE_CAUSE_RACE_H

#include "coverage/cause/cause.h"

struct cause_cache {
	void *arg;
	/* Called once, in the thread that registers all the time; or NULL. */
	void (*enter)(void *arg);
	/* Gets and puts a registration of the place, if possible. */
	void (*use)(void *arg, const struct cause_place *place);
	/* Gets a registration, and counts the bytes that it reads as `byte`; -errno. */
	long (*look)(void *arg, const struct cause_place *place, char byte);
	/*
	 * How many pins it has taken so far; or NULL. With it, the change comes when the other thread's first registration
	 * has taken its pins, and is not over.
	 */
	unsigned int (*pinned)(void *arg);
};

struct cause_race {
	unsigned int rounds, stale;
};

/* Rounds for this many ns, at most `rounds`. */
void cause_race_try(const struct cause *cause, const struct cause_cache *cache, long ns,
		    unsigned int rounds, struct cause_race *found);

#endif
