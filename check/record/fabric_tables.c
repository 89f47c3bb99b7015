/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Functions of a provider's tables, and ours in front of them (places.h). Providers write to their tables, and free them:
 * what is found in a place that is not ours is noted anew. And programs copy tables, with ours in them: of a table that
 * nobody has noted, ours has behind it what it has elsewhere, if that is one function.
 */
#include <string.h>

#include "check/record/fabric.h"
#include "check/record/keys.h"
#include "check/record/places.h"
#include "os/peek.h"

#include "os/event_path.h"

/* By ours and the offset: all that it has been put in front of. The words of each value: */
static struct check_keys behind;
enum { FUNCTION, TABLE }; /* TABLE: the first that had it */

static struct check_key key_of(uintptr_t ours, size_t offset)
{
	return (struct check_key){ours, offset};
}

static uintptr_t *place_of(const void *table, size_t offset)
{
	return (uintptr_t *)((uintptr_t)table + offset);
}

/* Its first member is its size, which nobody changes: so writing the same there only asks. */
static bool can_be_written(void *table)
{
	size_t size;

	return !mrn_peek(&size, (uintptr_t)table, sizeof(size)) &&
	       !mrn_poke((uintptr_t)table, &size, sizeof(size));
}

struct search {
	const void *table; /* if not NULL, only what was in tables that are the same */
	uintptr_t function;
	bool is_there;
	uintptr_t found;
	bool are_several;
};

static void look_for(const struct check_value *value, void *arg)
{
	struct search *search = arg;

	search->is_there |= value->word[FUNCTION] == search->function;
}

/* False without memory. Threads that do so together add the same. */
static bool add_to_ours(uintptr_t ours, const void *table, size_t offset, uintptr_t function)
{
	const struct check_key key = key_of(ours, offset);
	struct search search = {.function = function};

	check_keys_each(&behind, key, look_for, &search);
	return search.is_there ||
	       !check_keys_put(
		       &behind, key,
		       (struct check_value){
			       .word = {[FUNCTION] = function, [TABLE] = (uintptr_t)table}});
}

/* The one of a table may have been freed. */
static bool are_same(const void *table, uintptr_t other)
{
	char is[512];
	size_t size;

	memcpy(&size, table, sizeof(size));
	return size <= sizeof(is) && !mrn_peek(is, other, size) && !memcmp(is, table, size);
}

static void consider(const struct check_value *value, void *arg)
{
	struct search *search = arg;

	if (search->table && !are_same(search->table, (uintptr_t)value->word[TABLE]))
		return;
	search->are_several |= search->found && search->found != value->word[FUNCTION];
	search->found = value->word[FUNCTION];
}

/* NULL if nobody knows. */
static uintptr_t behind_copy(const void *table, size_t offset, uintptr_t ours)
{
	const struct check_key key = key_of(ours, offset);
	struct search all = {0}, same = {.table = table};

	check_keys_each(&behind, key, consider, &all);
	if (!all.are_several)
		return all.found;
	check_keys_each(&behind, key, consider, &same);
	return same.are_several ? 0 : same.found;
}

static bool put_in_front(void *table, const struct check_fabric_slot *slot)
{
	uintptr_t *place = place_of(table, slot->offset), ours = (uintptr_t)slot->ours;
	const uintptr_t had = check_place_has(place);

	if (!had || had == ours)
		return true;
	return check_place_is_free(CHECK_PLACE_TABLE, place, had) &&
	       add_to_ours(ours, table, slot->offset, had) &&
	       check_place_front(CHECK_PLACE_TABLE, place, had, ours);
}

bool check_fabric_front(void *table, const struct check_fabric_slot *slots, size_t nr)
{
	size_t size, i = 0;
	bool all = true;

	if (!table)
		return true;
	memcpy(&size, table, sizeof(size));
	while (i < nr &&
	       (slots[i].offset + sizeof(uintptr_t) > size ||
		check_place_has(place_of(table, slots[i].offset)) == (uintptr_t)slots[i].ours))
		i++;
	if (i == nr)
		return true;
	if (!can_be_written(table))
		return false;
	for (; i < nr; i++)
		if (slots[i].offset + sizeof(uintptr_t) <= size)
			all &= put_in_front(table, &slots[i]);
	return all;
}

check_fabric_function *check_fabric_behind(const void *table, size_t offset,
					   check_fabric_function *ours)
{
	/* The object may have been given another table since the caller looked. */
	const uintptr_t function =
		check_place_behind(CHECK_PLACE_TABLE, place_of(table, offset), (uintptr_t)ours);

	return (check_fabric_function *)(function ? function
						  : behind_copy(table, offset, (uintptr_t)ours));
}
