/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A filter in front of the index: tells after a load or two that no entry overlaps a range.
 *
 * Pages are divided into granules of eight. An entry puts a mark into the table for each granule that it touches: a
 * hash of the granule chooses the line, which has room for 31 marks; a mark is eight bits of the hash, and a bit for
 * each page of the granule that the entry covers. The last place of a line counts the marks that found no room. So "no"
 * is certain, and "perhaps" is sometimes wrong. When the table gets full, a larger one is filled and replaces it.
 *
 * A large entry uses larger pages, eight times as large per level, so that it touches three granules at most. So does
 * an entry without near neighbours: this halves the filter of scattered entries, and its size decides what a look-up
 * costs.
 *
 * Readers and the writer as in index.h: marks are added before the entry, and dropped after it. Why "no" is certain:
 *
 *	A mark moves only upward, and a reader goes only upward.
 *
 * Take an entry that is present from before the reader's section until after its look-up. Let v be its mark in one of
 * its lines. Other entries may have equal marks, and places do not say whose they are. So say that a place *stands for*
 * the entry if it holds v; and that the last place does while some v have found no room, which makes its count more
 * than 0.
 *  - Some place always stands for the entry: there are as many v, in places or spilt, as entries with mark v.
 *  - The highest place that stands for it never gets lower. Adding a mark removes none. Of equal marks drop removes the
 *    lowest, and a spilt one only if no place holds v: while the entry is present, one as high is left. A count that
 *    has got stuck stays.
 *  - A reader reads each place once, in ascending order, the last place last. Take the first place p that it reads
 *    while the highest place that stands for the entry is not above p: there is one, since none is above the last. Nor
 *    is that highest place below p, for it was above the previous place and has not got lower. So it is p, and the
 *    reader finds it.
 *
 * "While" refers to the writer's time. The writer's stores are releases and the reader's loads acquires: after a load
 * that sees a store, all later loads see what was stored before it. So each load sees its place as of some time, and
 * these times ascend, from that of the fence that began the section. Within one access order does not matter.
 *
 * A level's bit, too, stays as long as the entry. The reader loads the levels once, then the table once. A replaced
 * table does not change any more, and keeps the entry's marks; a new table has all marks before it is published.
 */
#ifndef MRN_INDEX_FILTER_H
#define MRN_INDEX_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "index/hint.h"
#include "index/vector.h"

#define MRN_FILTER_PAGE	  12 /* log2 of a page's size */
#define MRN_FILTER_LEVELS 16
#define MRN_FILTER_STEP \
	3 /* the logarithm of a granule's pages, and of a page's in those of the level below */
/* A range of more granules is not looked up. */
#define MRN_FILTER_MOST 4

struct mrn_filter_line {
	uint16_t mark[MRN_VECTOR]; /* atomic; 0 is free */
} __attribute__((aligned(64)));
#define MRN_FILTER_ROOM	 (MRN_VECTOR - 1)
#define MRN_FILTER_SPILT MRN_FILTER_ROOM /* the last place: counts marks without room */

struct mrn_filter_table {
	struct mrn_filter_table *next; /* in a list of retired ones */
	size_t size;		       /* of the table, in bytes */
	size_t lines;		       /* a power of two */
	struct mrn_hint_line *hint;    /* MRN_HINT_LINES for each line; or NULL */
	unsigned int hint_level;       /* hints are for entries on this level */
	struct mrn_filter_line line[];
};

struct mrn_filter {
	/* What readers use, and few changes write. */
	struct mrn_filter_table *table; /* atomic; NULL before the first entry */
	size_t lines;	 /* atomic: the table's; may be an older table's, for prefetching */
	uint32_t levels; /* atomic: a bit per level with entries; bit 31: some are too large */
	/* Atomic, both: the table's; may be an older table's, for prefetching. */
	unsigned int hint_level;
	struct mrn_hint_line *hint;
	struct mrn_filter_table *retired;
	bool hints; /* may be set before the first entry: large tables have hints */
	/*
	 * May be set before the first entry: then a forked child finds zeros in the tables and the index's nodes, in
	 * case it was reading or writing at the moment of the fork; see wiped.h. Otherwise it has copies, and can free
	 * them. The child finds this field zeroed, too: a change in progress goes on there on useless data, and frees
	 * nothing.
	 */
	bool wiped;
	/* What every change writes: in another line, see struct mrn_index, with what the index itself counts. */
	uint64_t marks;	  /* how many there are in the table */
	uint64_t entries; /* the index's, atomic; for readers a guess */
	uint64_t erased;  /* the index's, atomic; counts up when an entry has gone */
	uint64_t count[MRN_FILTER_LEVELS + 1]; /* entries by level; the last, too large ones */
};

/* A range of pages, including the last. */
struct mrn_pages {
	uint64_t first, last;
};

static inline struct mrn_pages mrn_pages_of(uintptr_t start, uintptr_t end)
{
	return (struct mrn_pages){(uint64_t)start >> MRN_FILTER_PAGE,
				  ((uint64_t)end - 1) >> MRN_FILTER_PAGE};
}

/* Fibonacci hashing: the highest bits choose the line, 8 others make the mark. Levels differ in all of them. */
static inline uint64_t mrn_filter_hash(uint64_t granule, unsigned int level)
{
	return (granule ^ (uint64_t)level << 50) * UINT64_C(0x9e3779b97f4a7c15);
}

/* The line of so many; the first of none, as a forked child finds it in the middle of a look. */
static inline size_t mrn_filter_line_of(uint64_t hash, size_t lines)
{
	return (size_t)(((unsigned __int128)hash * lines) >> 64);
}

/* The mark of pages first to last of a level in a granule. */
static inline uint16_t mrn_filter_mark(uint64_t hash, uint64_t granule, uint64_t first,
				       uint64_t last)
{
	unsigned int from = granule == first >> MRN_FILTER_STEP ? first & 7 : 0;
	unsigned int to = granule == last >> MRN_FILTER_STEP ? last & 7 : 7;

	return (uint16_t)((hash >> 24 & 0xff) << 8 | (0xffu >> (7 - to) & 0xffu << from));
}

static inline bool mrn_filter_level_has(const struct mrn_filter_table *t, unsigned int level,
					struct mrn_pages p)
{
	uint64_t first = p.first >> level * MRN_FILTER_STEP,
		 last = p.last >> level * MRN_FILTER_STEP;
	uint64_t granule = first >> MRN_FILTER_STEP, end = (last >> MRN_FILTER_STEP) + 1;

	if (end - granule > MRN_FILTER_MOST)
		return true;
	for (; granule < end; granule++) {
		uint64_t hash = mrn_filter_hash(granule, level);
		const uint16_t *line = t->line[mrn_filter_line_of(hash, t->lines)].mark;

		if (mrn_vector_has(line, mrn_filter_mark(hash, granule, first, last)))
			return true;
	}
	return false;
}

/*
 * True if an entry may overlap [start, end). In a section. An entry that is missed was inserted after the fence that
 * began the section.
 */
static inline bool mrn_filter_may_overlap(const struct mrn_filter *f, uintptr_t start,
					  uintptr_t end)
{
	/* Acquire pairs with set_level's release: if there is a level, there is a table. So load the levels first. */
	uint32_t levels = __atomic_load_n(&f->levels, __ATOMIC_ACQUIRE);
	/* Acquire pairs with the release that published the table. */
	const struct mrn_filter_table *t = __atomic_load_n(&f->table, __ATOMIC_ACQUIRE);
	struct mrn_pages p = mrn_pages_of(start, end);

	/* Without a table there are no entries; or a child was forked between the two loads. */
	if (!t)
		return false;
	if (levels >> 31)
		return true;
	for (; levels; levels &= levels - 1)
		if (mrn_filter_level_has(t, (unsigned int)__builtin_ctz(levels), p))
			return true;
	return false;
}

/* The hash of the granule of a level that an address is in. */
static inline uint64_t mrn_filter_hash_of(uintptr_t start, unsigned int level)
{
	return mrn_filter_hash((uint64_t)start >> (MRN_FILTER_PAGE + (level + 1) * MRN_FILTER_STEP),
			       level);
}

/*
 * Prefetches for a look-up of this address. Safe outside a section: reads nothing of the table, and computes addresses as
 * numbers, since with another table's fields they may lie anywhere.
 */
static inline void mrn_filter_prefetch(const struct mrn_filter *f, uintptr_t start)
{
	uintptr_t t = (uintptr_t)__atomic_load_n(&f->table, __ATOMIC_RELAXED);
	uintptr_t hint = (uintptr_t)__atomic_load_n(&f->hint, __ATOMIC_RELAXED);
	size_t lines = __atomic_load_n(&f->lines, __ATOMIC_RELAXED);
	uint32_t levels = __atomic_load_n(&f->levels, __ATOMIC_RELAXED) & (uint32_t)INT32_MAX;
	size_t line;

	if (!t)
		return;
	for (; levels; levels &= levels - 1) {
		line = mrn_filter_line_of(mrn_filter_hash_of(start,
							     (unsigned int)__builtin_ctz(levels)),
					  lines);
		__builtin_prefetch((const void *)(t + offsetof(struct mrn_filter_table, line) +
						  line * sizeof(struct mrn_filter_line)));
	}
	if (hint) {
		line = mrn_filter_line_of(mrn_filter_hash_of(start,
							     __atomic_load_n(&f->hint_level,
									     __ATOMIC_RELAXED)),
					  MRN_HINT_LINES * lines);
		__builtin_prefetch((const void *)(hint + line * sizeof(struct mrn_hint_line)));
	}
}

/* The level on which a range touches three granules at most; MRN_FILTER_LEVELS if it is too large for all. */
unsigned int mrn_filter_level(struct mrn_pages p, bool alone);

/*
 * For the writer. A table must exist. add never fails: an overfull table says "perhaps" more often. alone: use larger
 * pages; pass the same to drop as to add.
 */
void mrn_filter_add(struct mrn_filter *f, struct mrn_pages p, bool alone);
void mrn_filter_drop(struct mrn_filter *f, struct mrn_pages p, bool alone);

/* An entry without a neighbour within this many pages is alone. */
#define MRN_FILTER_NEAR (UINT64_C(1) << 2 * MRN_FILTER_STEP)

/*
 * is_full: true if a larger table is needed. larger: a new one, without entries; NULL without memory. table_add fills it,
 * and returns how many marks that took: as many as in the old table, since an entry's level stays.
 */
bool mrn_filter_is_full(const struct mrn_filter *f);
struct mrn_filter_table *mrn_filter_larger(const struct mrn_filter *f);
uint64_t mrn_filter_table_add(struct mrn_filter_table *t, struct mrn_pages p, bool alone);
/* Publishes the new table; retires the old one. */
void mrn_filter_replace(struct mrn_filter *f, struct mrn_filter_table *t);
/* Frees a list of tables. */
void mrn_filter_table_free(struct mrn_filter_table *t);

#endif
