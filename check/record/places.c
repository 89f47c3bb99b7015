/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/places.h"

#include "check/record/keys.h"
#include "check/shared/check.h"
#include "os/behind.h"

#include "os/event_path.h"

/* By the place. The words of each value: */
static struct check_keys behind;
static const char scope;
enum { FUNCTION, ENDED };

static struct check_key key_of(const uintptr_t *place)
{
	return (struct check_key){(uintptr_t)&scope, (uintptr_t)place};
}

static bool are_in_one_module(uint64_t a, uintptr_t b)
{
	return mrn_behind_is_one_module((const void *)(uintptr_t)a, (const void *)b) ||
	       MRN_BROKEN(CHECK_PLACES_WRAPPED);
}

bool check_place_note(const uintptr_t *place, uintptr_t function)
{
	const struct check_value value = {.word = {[FUNCTION] = function}};
	struct check_value had;

	if (check_keys_find(&behind, key_of(place), &had) && !had.word[ENDED]) {
		if (had.word[FUNCTION] == function)
			return true;
		if (!are_in_one_module(had.word[FUNCTION], function))
			return false;
	}
	return !check_keys_replace(&behind, key_of(place), value);
}

uintptr_t check_place_behind(const uintptr_t *place)
{
	struct check_value had;

	return check_keys_find(&behind, key_of(place), &had) ? (uintptr_t)had.word[FUNCTION] : 0;
}

void check_place_front(uintptr_t *place, uintptr_t ours)
{
	uintptr_t had = __atomic_load_n(place, __ATOMIC_RELAXED);

	/* Release pairs with the program's own ordering: whoever calls ours finds the note. */
	if (had && had != ours && check_place_note(place, had))
		__atomic_compare_exchange_n(place, &had, ours, false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED);
}

bool check_place_end(uintptr_t *place, uintptr_t ours)
{
	struct check_value had;
	bool was_ours;

	if (!check_keys_find(&behind, key_of(place), &had))
		return false;
	was_ours = __atomic_compare_exchange_n(place, &ours, (uintptr_t)had.word[FUNCTION], false,
					       __ATOMIC_RELEASE, __ATOMIC_RELAXED);
	had.word[ENDED] = true;
	/* Without memory the place counts as there: then what comes next may not be seen, and nothing else goes wrong. */
	check_keys_replace(&behind, key_of(place), had);
	return was_ours;
}
