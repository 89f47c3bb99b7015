/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Functions of a provider's tables, and ours in front of them. What was in a place is noted by the table and the place,
 * before ours is put there: whoever calls ours finds the note. Providers write to their tables, and free them: what is
 * found in a place that is not ours is noted anew.
 */
#include <string.h>

#include "check/record/fabric.h"
#include "check/record/keys.h"
#include "os/peek.h"

#include "os/event_path.h"

/* By the table and the offset. The words of each value: */
static struct check_keys behind;
enum { FUNCTION };

static struct check_key key_of(const void *table, size_t offset)
{
	return (struct check_key){(uintptr_t)table, offset};
}

static uintptr_t *place_of(void *table, size_t offset)
{
	return (uintptr_t *)(void *)((char *)table + offset);
}

static uintptr_t in_place(const void *table, size_t offset)
{
	return __atomic_load_n((const uintptr_t *)(const void *)((const char *)table + offset),
			       __ATOMIC_RELAXED);
}

/* Its first member is its size, which nobody changes: so writing the same there only asks. */
static bool can_be_written(void *table)
{
	size_t size;

	return !mrn_peek(&size, (uintptr_t)table, sizeof(size)) &&
	       !mrn_poke((uintptr_t)table, &size, sizeof(size));
}

/* Threads that do so together note the same. */
static bool note(struct check_key key, uintptr_t function)
{
	struct check_value had, value = {.word = {function}};

	if (check_keys_find(&behind, key, &had)) {
		if (had.word[FUNCTION] == function)
			return true;
		while (check_keys_take(&behind, key, &had))
			;
	}
	return !check_keys_put(&behind, key, value);
}

static bool put_in_front(void *table, const struct check_fabric_slot *slot)
{
	uintptr_t *place = place_of(table, slot->offset), ours = (uintptr_t)slot->ours;
	uintptr_t had = in_place(table, slot->offset);

	if (!had || had == ours)
		return true;
	if (!note(key_of(table, slot->offset), had))
		return false;
	/* Release pairs with the program's own ordering: whoever calls ours finds the note. */
	return __atomic_compare_exchange_n(place, &had, ours, false, __ATOMIC_RELEASE,
					   __ATOMIC_RELAXED) ||
	       had == ours;
}

bool check_fabric_front(void *table, const struct check_fabric_slot *slots, size_t nr)
{
	size_t size, i = 0;
	bool all = true;

	if (!table)
		return true;
	memcpy(&size, table, sizeof(size));
	while (i < nr && (slots[i].offset + sizeof(uintptr_t) > size ||
			  in_place(table, slots[i].offset) == (uintptr_t)slots[i].ours))
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
	struct check_value value;
	uintptr_t now;

	if (check_keys_find(&behind, key_of(table, offset), &value))
		return (check_fabric_function *)value.word[FUNCTION];
	/* The object has been given another table since the caller looked. */
	now = in_place(table, offset);
	return now == (uintptr_t)ours ? NULL : (check_fabric_function *)now;
}
