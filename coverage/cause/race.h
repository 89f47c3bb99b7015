/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A registration cache, while what it caches changes: one thread registers the place all the time, another one makes the
 * change. What the cache hands out afterwards must be of the new pages.
 */
#ifndef COVERAGE_CAUSE_RACE_H
#define COVERAGE_CAUSE_RACE_H

#include "coverage/cause/cause.h"

struct cause_cache {
	void *arg;
	/* Once, in the thread that registers all the time; or NULL. */
	void (*enter)(void *arg);
	/* Gets the place's registration and puts it, if it can. */
	void (*use)(void *arg, const struct cause_place *place);
	/* How many bytes a registration that is got now reads as this one; -errno. */
	long (*look)(void *arg, const struct cause_place *place, char byte);
};

struct cause_race {
	unsigned int rounds, stale;
};

/* Rounds for this long, and so many at most. */
void cause_race_try(const struct cause *cause, const struct cause_cache *cache, long ns,
		    unsigned int rounds, struct cause_race *found);

#endif
