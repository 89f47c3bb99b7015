/* SPDX-License-Identifier: BSD-3-Clause */
#include "coverage/cause/race.h"

#include <sched.h>

#include "os/clock.h"

struct user {
	const struct cause_cache *cache;
	const struct cause_place *place;
	bool stop;
	unsigned int uses;
};

static void *use_all_the_time(void *arg)
{
	struct user *u = arg;

	if (u->cache->enter)
		u->cache->enter(u->cache->arg);
	while (!__atomic_load_n(&u->stop, __ATOMIC_ACQUIRE)) {
		u->cache->use(u->cache->arg, u->place);
		__atomic_add_fetch(&u->uses, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static int change_while_used(const struct cause_cache *cache, struct cause_place *place)
{
	struct user user = {.cache = cache, .place = place};
	const unsigned int pins = cache->pinned ? cache->pinned(cache->arg) : 0;
	pthread_t thread;
	int r = -pthread_create(&thread, NULL, use_all_the_time, &user);

	if (r)
		return r;
	while (!__atomic_load_n(&user.uses, __ATOMIC_ACQUIRE) &&
	       (!cache->pinned || cache->pinned(cache->arg) == pins))
		sched_yield();
	r = cause_change(place);
	__atomic_store_n(&user.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	return r;
}

/* 1: stale, 0: correct, negative: the round could not be run. */
static int one_round(const struct cause *cause, const struct cause_cache *cache)
{
	struct cause_place place;
	long n = cause_prepare(cause, &place);

	if (!n)
		n = change_while_used(cache, &place);
	if (!n)
		n = cause_refill(&place);
	if (!n)
		n = cache->look(cache->arg, &place, 'A');
	cause_drop(&place);
	return n < 0 ? -1 : n > 0;
}

void cause_race_try(const struct cause *cause, const struct cause_cache *cache, long ns,
		    unsigned int rounds, struct cause_race *found)
{
	const uint64_t end = mrn_now_ns() + (uint64_t)ns;

	*found = (struct cause_race){0, 0};
	for (unsigned int i = 0; i < rounds && mrn_now_ns() < end; i++) {
		const int stale = one_round(cause, cache);

		if (stale < 0)
			continue;
		found->rounds++;
		found->stale += (unsigned int)stale;
	}
}
