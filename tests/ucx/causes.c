/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * UCX's registration cache with mrn in place of its hooks: each cause of the catalog, with real pins; by one thread, and
 * while a second thread looks the memory up all the time.
 */
#include <errno.h>
#include <string.h>
#include <ucm/api/ucm.h>

#include "coverage/cause/race.h"
#include "coverage/peers/ucx_cache.h"
#include "coverage/pin.h"
#include "tests/ucx/fixture.h"

/* Somebody else's malloc may come between, but not each time. */
#define TRIES	    10
#define RACE_NS	    60000000L
#define RACE_ROUNDS 500

static struct break_later later;

static void open_all(unsigned int kinds)
{
	int r = pin_open();

	if (r)
		SKIP("no io_uring that pins: %s", strerror(-r));
	fixture_install(kinds, 0);
	CHECK_ERR(ucx_cache_open(), 0);
	break_now(&later);
}

/* What the source brackets: dispatch, every call; interpose, calls of libc's functions, and free and realloc. */
static bool is_seen(const struct cause *cause, unsigned int kinds)
{
	static const char *const inside[] = {"malloc_trim", "thread_stack", "dlclose"};

	if (cause->by_ring || cause->ends_program)
		return false;
	if (kinds == MRN_SOURCE_DISPATCH)
		return true;
	for (size_t i = 0; i < sizeof(inside) / sizeof(inside[0]); i++)
		if (!strcmp(cause->name, inside[i]))
			return false;
	return !cause->raw;
}

/* How many bytes of the place the device reads as `byte`; -errno. */
static long look(void *arg, const struct cause_place *place, char byte)
{
	const struct pin *pin;
	void *entry;
	long n = ucx_cache_get(place->addr, place->length, &entry, &pin);

	if (n)
		return n;
	n = pin_count(pin, place->addr, place->length, byte);
	ucx_cache_put(entry);
	return n;
}

static void use(void *arg, const struct cause_place *place)
{
	const struct pin *pin;
	void *entry;

	if (!ucx_cache_get(place->addr, place->length, &entry, &pin))
		ucx_cache_put(entry);
}

/* ------------------------------------------------------------------------------------------ one thread */

/* 0 and how many bytes are stale afterwards, or -errno. */
static int try_alone(const struct cause *cause, struct cause_place *place, long *stale)
{
	int r = cause_prepare(cause, place);

	if (r)
		return r;
	CHECK_EQ(look(NULL, place, 'A'), place->length);
	r = cause_change(place);
	if (!r)
		r = cause_refill(place);
	if (!r)
		*stale = look(NULL, place, 'A');
	return r;
}

static void try_all_alone(unsigned int kinds)
{
	unsigned int tried = 0, wrong = 0;

	open_all(kinds);
	for (size_t i = 0; i < cause_count; i++) {
		const struct cause *cause = &cause_table[i];
		long stale = 0;
		int r = -EAGAIN;

		if (!is_seen(cause, kinds))
			continue;
		for (int n = 0; n < TRIES && r == -EAGAIN; n++) {
			struct cause_place place;

			r = try_alone(cause, &place, &stale);
			/* The catalog unmaps by calls that interpose does not see. */
			ucm_vm_munmap(place.room, place.room_length);
			cause_drop(&place);
		}
		CHECK_MSG(r == 0 || r == -EOPNOTSUPP, "%s: %s", cause->name, strerror(-r));
		if (r)
			continue;
		tried++;
		if (!stale)
			continue;
		wrong++;
		NOTE("%s: %ld bytes come from pages that are gone", cause->name, stale);
	}
	NOTE("%u causes tried, %u stale", tried, wrong);
	CHECK(tried > cause_count / 4);
	CHECK_EQ(wrong, 0);
}

TEST(no_change_that_interpose_sees_leaves_a_stale_registration)
{
	try_all_alone(MRN_SOURCE_INTERPOSE);
}
TWIN(no_change_that_interpose_sees_leaves_a_stale_registration, nothing_is_told,
     (BREAK_LATER(later, UCX_BEGIN), BREAK_LATER(later, UCX_END)));

TEST(no_change_that_dispatch_sees_leaves_a_stale_registration)
{
	try_all_alone(MRN_SOURCE_DISPATCH);
}
TWIN(no_change_that_dispatch_sees_leaves_a_stale_registration, nothing_is_told,
     (BREAK_LATER(later, UCX_BEGIN), BREAK_LATER(later, UCX_END)));

/* ----------------------------------------------------------------------------------------- two threads */

static void race_all(unsigned int kinds)
{
	const struct cause_cache cache = {.use = use, .look = look};
	unsigned int rounds = 0, stale = 0;

	open_all(kinds);
	for (size_t i = 0; i < cause_count; i++) {
		struct cause_race race;

		if (!is_seen(&cause_table[i], kinds))
			continue;
		cause_race_try(&cause_table[i], &cache, RACE_NS, RACE_ROUNDS, &race);
		rounds += race.rounds;
		stale += race.stale;
		if (race.stale)
			NOTE("%s: %u of %u stale", cause_table[i].name, race.stale, race.rounds);
	}
	NOTE("%u rounds, %u stale", rounds, stale);
	CHECK(rounds > 100);
	CHECK_EQ(stale, 0);
}

TEST(a_registration_made_during_a_change_is_dropped_after_it, .timeout_s = 60)
{
	race_all(MRN_SOURCE_INTERPOSE);
}
TWIN(a_registration_made_during_a_change_is_dropped_after_it, told_only_before,
     BREAK_LATER(later, UCX_END));

TEST(a_registration_made_during_a_caught_call_is_dropped_after_it, .timeout_s = 60)
{
	race_all(MRN_SOURCE_DISPATCH);
}
TWIN(a_registration_made_during_a_caught_call_is_dropped_after_it, told_only_before,
     BREAK_LATER(later, UCX_END));
