/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/regcache/limit.h"

static size_t place(uint64_t page)
{
	return (page * UINT64_C(0x9e3779b97f4a7c15)) >> 54;
}
_Static_assert(LIMIT_LINES == 1 << (64 - 54), "place is a line");

bool limit_add(struct limit_table *t, uintptr_t start, size_t length)
{
	size_t i = place(start >> 12);
	struct limit_entry *e;

	if (t->entries == LIMIT_LINES / 2)
		return false;
	e = &t->entry[t->entries++];
	*e = (struct limit_entry){start, start + length, t};
	while (t->line[i].entry)
		i = (i + 1) % LIMIT_LINES;
	t->line[i] = (struct limit_line){start >> 12, e};
	return true;
}

const struct limit_entry *limit_get(const struct limit_table *t, uintptr_t start, size_t length)
{
	size_t i = place(start >> 12);

	while (t->line[i].page != start >> 12) {
		if (!t->line[i].entry)
			return NULL;
		i = (i + 1) % LIMIT_LINES;
	}
	return start + length <= t->line[i].entry->end ? t->line[i].entry : NULL;
}

bool limit_put(const struct limit_entry *entry)
{
	return entry->table != NULL;
}
