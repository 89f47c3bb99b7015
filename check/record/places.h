/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Places in structures of libraries', where the program finds a function to call, and ours is put in front of it. What was
 * there is noted first and stays noted: whoever calls ours finds what is behind, however late, and others may put ours there
 * or take it out meanwhile.
 *
 * Programs write to such places, too, and put a function there that calls what it has found, which may be ours. In front of
 * such a one ours would call itself. So a place that has had ours gets it again only in front of the module that it was in
 * front of, until the place ends and is another structure's.
 */
#ifndef MRN_CHECK_PLACES_H
#define MRN_CHECK_PLACES_H

#include <stdbool.h>
#include <stdint.h>

/* Notes what is in the place, before ours is put there. False if ours must not be put there, or without memory. */
bool check_place_note(const uintptr_t *place, uintptr_t function);
/* What ours is in front of; 0 if nobody has noted it. */
uintptr_t check_place_behind(const uintptr_t *place);

/* Puts ours in front of what is there, if there is anything. */
void check_place_front(uintptr_t *place, uintptr_t ours);
/* Puts back what was there, and what is in this place later is another structure's. True if ours was there. */
bool check_place_end(uintptr_t *place, uintptr_t ours);

#endif
