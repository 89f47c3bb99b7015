/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/places.h"

#include "check/record/keys.h"
#include "check/record/lock.h"
#include "check/shared/check.h"
#include "os/behind.h"

#include "os/event_path.h"

/* By the place, for each kind. The words of each value: */
static struct check_keys behind;
enum { FUNCTION, ENDED };

/*
 * Whoever notes what is in a place, and then puts ours there, holds it: otherwise two threads that have found different
 * functions there would leave two notes, and nobody could tell which is true.
 */
static struct check_lock lock;

static struct check_key key_of(enum check_place_kind kind, const uintptr_t *place)
{
	static const char scope[CHECK_PLACE_TABLE + 1];

	return (struct check_key){(uintptr_t)&scope[kind], (uintptr_t)place};
}

static bool is_known(enum check_place_kind kind, const uintptr_t *place, struct check_value *had)
{
	return check_keys_find(&behind, key_of(kind, place), had);
}

static bool put(uintptr_t *place, uintptr_t had, uintptr_t function)
{
	/* Release orders the note before ours. */
	return __atomic_compare_exchange_n(place, &had, function, false, __ATOMIC_RELEASE,
					   __ATOMIC_RELAXED);
}

/* The loader's lock may be held by a thread that waits for ours: so this is asked without it. */
bool check_place_is_free(enum check_place_kind kind, const uintptr_t *place, uintptr_t function)
{
	struct check_value had;

	return !is_known(kind, place, &had) || had.word[ENDED] || had.word[FUNCTION] == function ||
	       mrn_behind_is_one_module((const void *)(uintptr_t)had.word[FUNCTION],
					(const void *)function) ||
	       MRN_BROKEN(CHECK_PLACES_WRAPPED);
}

/* The holder's. False without memory. */
static bool note(enum check_place_kind kind, const uintptr_t *place, uintptr_t function)
{
	const struct check_value value = {.word = {[FUNCTION] = function}};
	struct check_value had;

	if (is_known(kind, place, &had) && had.word[FUNCTION] == function && !had.word[ENDED])
		return true;
	MRN_HOOK(notes);
	return !check_keys_replace(&behind, key_of(kind, place), value);
}

bool check_place_front(enum check_place_kind kind, uintptr_t *place, uintptr_t function,
		       uintptr_t ours)
{
	bool is_there = false;

	if (!check_lock(&lock))
		return false;
	if (MRN_BROKEN(CHECK_PLACES_UNLOCKED))
		check_unlock(&lock);
	if (check_place_has(place) == ours)
		is_there = true;
	else if (check_place_has(place) == function && note(kind, place, function))
		is_there = put(place, function, ours);
	check_unlock(&lock);
	return is_there;
}

void check_place_front_any(enum check_place_kind kind, uintptr_t *place, uintptr_t ours)
{
	const uintptr_t function = check_place_has(place);

	/* Where it is not put, uses are not seen. */
	if (function && function != ours && check_place_is_free(kind, place, function))
		(void)check_place_front(kind, place, function, ours);
}

uintptr_t check_place_behind(enum check_place_kind kind, const uintptr_t *place, uintptr_t ours)
{
	struct check_value had;
	uintptr_t now = check_place_has(place);

	/* Ours is there only once it is noted. */
	if (is_known(kind, place, &had))
		return (uintptr_t)had.word[FUNCTION];
	return now == ours ? 0 : now;
}

/* Without memory, or in a signal handler that has come between, it stays as it was: what comes next may not be seen then. */
static void note_end(enum check_place_kind kind, uintptr_t *place, uintptr_t ours, bool ended)
{
	struct check_value had;
	uintptr_t function;

	if (!is_known(kind, place, &had) || !check_lock(&lock))
		return;
	if (is_known(kind, place, &had)) {
		function = (uintptr_t)had.word[FUNCTION];
		had.word[ENDED] = ended;
		(void)check_keys_replace(&behind, key_of(kind, place), had);
		(void)(ended ? put(place, ours, function) : put(place, function, ours));
	}
	check_unlock(&lock);
}

void check_place_end(enum check_place_kind kind, uintptr_t *place, uintptr_t ours)
{
	note_end(kind, place, ours, true);
}

void check_place_go_on(enum check_place_kind kind, uintptr_t *place, uintptr_t ours)
{
	note_end(kind, place, ours, false);
}

void check_places_restart(void)
{
	lock.holder = 0;
}
