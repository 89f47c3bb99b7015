/* SPDX-License-Identifier: BSD-3-Clause */
#include "index/hint.h"

#include "index/check.h"
#include "index/node.h"

#include "os/event_path.h"

#define ADDRESS ((UINT64_C(1) << 48) - 1)

/* Sixteen bits of the hash, above an address. Few of them choose the line. */
static uint64_t tag_of(uint64_t hash)
{
	return hash << 24 & ~ADDRESS;
}

/* The number of the line. */
static size_t line_of(const struct mrn_filter_table *t, uint64_t hash)
{
	return mrn_filter_line_of(hash, MRN_HINT_LINES * t->lines);
}

/* The place in a line of the hint with this tag; MRN_HINTS if there is none. */
static unsigned int find(const struct mrn_hint_line *line, uint64_t tag)
{
	unsigned int i = 0;

	while (i < MRN_HINTS &&
	       (__atomic_load_n(&line->hint[i].entry, __ATOMIC_RELAXED) & ~ADDRESS) != tag)
		i++;
	return i;
}

static void set(struct mrn_hint *hint, uint64_t entry, uintptr_t place)
{
	__atomic_store_n(&hint->entry, entry, __ATOMIC_RELAXED);
	__atomic_store_n(&hint->place, place, __ATOMIC_RELAXED);
}

/* If the line is full, without the oldest one. */
static void add(struct mrn_hint_line *line, uint64_t entry, uintptr_t place)
{
	unsigned int i = find(line, entry & ~ADDRESS);

	if (i == MRN_HINTS)
		for (i = MRN_HINTS - 1; i; i--)
			set(&line->hint[i], line->hint[i - 1].entry, line->hint[i - 1].place);
	set(&line->hint[i], entry, place);
}

static void move(struct mrn_hint_line *line, uint64_t entry, uintptr_t place)
{
	unsigned int i = find(line, entry & ~ADDRESS);

	if (i < MRN_HINTS && line->hint[i].entry == entry && !MRN_BROKEN(INDEX_HINTS))
		set(&line->hint[i], entry, place);
}

static void prefetch(struct mrn_hint_line *line, uint64_t entry, uintptr_t place)
{
	(void)entry;
	(void)place;
	__builtin_prefetch(line, 1);
}

/* For each line in which e has a hint. */
static inline void each_line(struct mrn_filter_table *t, const struct mrn_index_entry *e,
			     void (*act)(struct mrn_hint_line *line, uint64_t entry,
					 uintptr_t place))
{
	struct mrn_pages p = mrn_pages_of(e->start, e->end);
	unsigned int level = t->hint_level, step = (level + 1) * MRN_FILTER_STEP;

	if (!t->hint || mrn_filter_level(p, e->place & MRN_PLACE_ALONE) != level)
		return;
	for (uint64_t granule = p.first >> step; granule <= p.last >> step; granule++) {
		uint64_t hash = mrn_filter_hash(granule, level);

		act(&t->hint[line_of(t, hash)], tag_of(hash) | ((uint64_t)(uintptr_t)e & ADDRESS),
		    e->place);
	}
}

void mrn_hint_add(struct mrn_filter_table *t, const struct mrn_index_entry *e)
{
	each_line(t, e, add);
}

void mrn_hint_move(struct mrn_filter_table *t, const struct mrn_index_entry *e)
{
	each_line(t, e, move);
}

void mrn_hint_prefetch(struct mrn_filter_table *t, const struct mrn_index_entry *e)
{
	each_line(t, e, prefetch);
}

/* Of the leaf, the lines that a look at one slot reads; of the entry, what the walk reads, and its caller near by. */
static void prefetch_named(const struct mrn_hint *hint)
{
	const struct mrn_index_entry *e =
		(const void *)(uintptr_t)(__atomic_load_n(&hint->entry, __ATOMIC_RELAXED) &
					  ADDRESS);
	uintptr_t place = __atomic_load_n(&hint->place, __ATOMIC_RELAXED);
	const struct mrn_leaf *leaf = mrn_place_leaf(place);

	__builtin_prefetch(&e->id);
	__builtin_prefetch(&e->end);
	__builtin_prefetch(&leaf->node);
	__builtin_prefetch(leaf->first);
	__builtin_prefetch(leaf->last);
	for (unsigned i = 0; i < 32; i += 8)
		__builtin_prefetch(&leaf->entry[i]);
	MRN_HOOK(hint, e, place);
}

void mrn_hint_follow(const struct mrn_filter *f, uintptr_t start)
{
	/* Acquire pairs with the release that published the table. */
	const struct mrn_filter_table *t = __atomic_load_n(&f->table, __ATOMIC_ACQUIRE);
	const struct mrn_hint_line *line;
	uint64_t hash;
	unsigned int i;

	/* Both are read once: a child that was forked meanwhile finds zeros, and goes on in the first line. */
	line = t ? __atomic_load_n(&t->hint, __ATOMIC_RELAXED) : NULL;
	if (!line)
		return;
	hash = mrn_filter_hash_of(start, t->hint_level);
	line += line_of(t, hash);
	i = find(line, tag_of(hash));
	if (i < MRN_HINTS)
		prefetch_named(&line->hint[i]);
}
