/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Places in structures of libraries', where the program finds a function to call, and ours is put in front of it. What was
 * there is noted first and stays noted: whoever calls ours finds what is behind, however late, and others may put ours there
 * or take it out meanwhile. Memory follows the number of places that have had ours.
 *
 * Programs write to such places, too, and put a function there that calls what it has found, which may be ours. In front of
 * such a one ours would call itself. So a place that has had ours gets it again only in front of the module that it was in
 * front of, until the place ends and is another structure's. (A program that had a function there before ours came, and puts
 * a second one of the same module in front of ours, is not seen through.)
 *
 * None of these waits for the loader but check_place_is_free; they preserve errno.
 */
#ifndef MRN_CHECK_PLACES_H
#define MRN_CHECK_PLACES_H

#include <stdbool.h>
#include <stdint.h>

/* What the place is in: an address may become another kind's. */
enum check_place_kind { CHECK_PLACE_CONTEXT, CHECK_PLACE_QP, CHECK_PLACE_TABLE };

static inline uintptr_t check_place_has(const uintptr_t *place)
{
	/* Acquire pairs with the release that has put ours there: then what it is in front of is noted. */
	return __atomic_load_n(place, __ATOMIC_ACQUIRE);
}

/* True if ours may be put in front of this function there. */
bool check_place_is_free(enum check_place_kind kind, const uintptr_t *place, uintptr_t function);
/* Puts ours in front of it, if it is still there. False if ours is not there now. */
bool check_place_front(enum check_place_kind kind, uintptr_t *place, uintptr_t function,
		       uintptr_t ours);
/* What ours is in front of; where it has never been, what is there; 0 if that is ours. */
uintptr_t check_place_behind(enum check_place_kind kind, const uintptr_t *place, uintptr_t ours);

/* What is done with all places of a structure: */
typedef void check_place_function(enum check_place_kind kind, uintptr_t *place, uintptr_t ours);
/* puts ours in front of whatever is there; */
check_place_function check_place_front_any;
/* puts back what was there, and what is in this place later is another structure's; */
check_place_function check_place_end;
/* or it has not ended after all. */
check_place_function check_place_go_on;

/* In a forked child. */
void check_places_restart(void);

#endif
