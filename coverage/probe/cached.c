/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <mrn/regcache.h>
#include <stdlib.h>

#include "coverage/cause/race.h"
#include "coverage/pin.h"
#include "coverage/probe/probe.h"

#define RACE_NS	    200000000L
#define RACE_ROUNDS 500

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
	const struct mrn_regcache_opts config = {
		.size = sizeof(config),
		.mm = mrn_mm_self(),
		.source = p->source,
		.need = p->need,
		.ops = &ops,
		.max_entries = 64,
	};

	return mrn_regcache_create(&config, cache);
}

static void use(void *arg, const struct cause_place *place)
{
	const struct mrn_regcache_entry *entry;

	if (!mrn_regcache_get(arg, place->addr, place->length, MRN_ACCESS_READ, &entry))
		mrn_regcache_put(entry);
}

static long look(void *arg, const struct cause_place *place, char byte)
{
	const struct mrn_regcache_entry *entry;
	long n = mrn_regcache_get(arg, place->addr, place->length, MRN_ACCESS_READ, &entry);

	if (n)
		return n;
	n = pin_count(entry->handle.ptr, place->addr, place->length, byte);
	mrn_regcache_put(entry);
	return n;
}

void probe_cached(struct probe *p)
{
	struct cause_cache cache = {.use = use, .look = look};
	struct mrn_regcache *regcache;
	struct cause_race race;

	if (open_cache(p, &regcache)) {
		probe_conclude(p, VERDICT_UNSUPPORTED, "no cache can be made over this source");
		return;
	}
	cache.arg = regcache;
	cause_race_try(p->cause, &cache, RACE_NS, RACE_ROUNDS, &race);
	mrn_regcache_destroy(regcache);
	if (race.stale && p->verdict == VERDICT_MISSED)
		probe_conclude(p, VERDICT_MISSED, "nothing is told, and registrations are stale");
	else if (race.stale)
		probe_conclude(p, VERDICT_MISSED,
			       "a second thread registers during the change: %u of %u times stale",
			       race.stale, race.rounds);
}
