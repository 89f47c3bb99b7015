/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "bench/peers/pin.h"
#include "tools/coverage/probe.h"

#define GAP_NS	   200000000L
#define GAP_ROUNDS 500

static int register_pin(void *ctx, struct mrn_regcache_entry *entry)
{
	struct pin *pin = malloc(sizeof(*pin));
	int r = pin ? pin_take(pin, (char *)entry->addr, entry->length) : -ENOMEM;

	(void)ctx;
	if (r)
		free(pin);
	else
		entry->handle.ptr = pin;
	return r;
}

static void release_pin(void *ctx, struct mrn_regcache_entry *entry)
{
	(void)ctx;
	pin_release(entry->handle.ptr);
	free(entry->handle.ptr);
}

static int open_cache(const struct probe *p, struct mrn_regcache **cache)
{
	static const struct mrn_regcache_ops ops = {register_pin, release_pin};
	const struct mrn_regcache_config config = {
		.size = sizeof(config),
		.mm = mrn_mm_self(),
		.source = p->source,
		.need = p->need,
		.ops = &ops,
		.max_entries = 64,
	};

	return mrn_regcache_create(&config, cache);
}

struct looker {
	struct mrn_regcache *cache;
	const struct cause_place *place;
	bool stop;
	unsigned int looks;
};

static void *look_all_the_time(void *arg)
{
	struct looker *l = arg;

	while (!__atomic_load_n(&l->stop, __ATOMIC_ACQUIRE)) {
		const struct mrn_regcache_entry *entry;

		if (!mrn_regcache_get(l->cache, l->place->addr, l->place->length, MRN_ACCESS_READ,
				      &entry))
			mrn_regcache_put(entry);
		__atomic_add_fetch(&l->looks, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* How many bytes of the place a registration that is got now reads as 'A'; -errno. */
static long look(struct mrn_regcache *cache, const struct cause_place *place)
{
	const struct mrn_regcache_entry *entry;
	long n = mrn_regcache_get(cache, place->addr, place->length, MRN_ACCESS_READ, &entry);

	if (n)
		return n;
	n = pin_count(entry->handle.ptr, place->addr, place->length, 'A');
	mrn_regcache_put(entry);
	return n;
}

/* 1: stale, 0: right, negative: no such round. */
static int gap_round(const struct probe *p, struct mrn_regcache *cache)
{
	struct cause_place place;
	struct looker looker = {.cache = cache, .place = &place};
	pthread_t thread;
	long n = cause_prepare(p->cause, &place);

	if (!n) {
		n = -pthread_create(&thread, NULL, look_all_the_time, &looker);
		if (!n) {
			while (!__atomic_load_n(&looker.looks, __ATOMIC_ACQUIRE))
				sched_yield();
			n = cause_change(&place);
			__atomic_store_n(&looker.stop, true, __ATOMIC_RELEASE);
			pthread_join(thread, NULL);
		}
	}
	if (!n)
		n = cause_refill(&place);
	if (!n)
		n = look(cache, &place);
	cause_drop(&place);
	return n < 0 ? -1 : n > 0;
}

static long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

void probe_gap(struct probe *p)
{
	const long end = now_ns() + GAP_NS;
	unsigned int rounds = 0, stale = 0;
	struct mrn_regcache *cache;
	int r;

	if (open_cache(p, &cache)) {
		probe_conclude(p, VERDICT_UNSUPPORTED, "no cache can be made over this source");
		return;
	}
	for (int i = 0; i < GAP_ROUNDS && now_ns() < end; i++) {
		r = gap_round(p, cache);
		if (r < 0)
			continue;
		rounds++;
		stale += (unsigned int)r;
	}
	mrn_regcache_destroy(cache);
	if (stale && p->verdict == VERDICT_MISSED)
		probe_conclude(p, VERDICT_MISSED, "nothing is told, and registrations are stale");
	else if (stale)
		probe_conclude(p, VERDICT_MISSED,
			       "a second thread registers during the change: %u of %u times stale",
			       stale, rounds);
}
