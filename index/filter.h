/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A filter in front of the index: for a range that no entry overlaps, it says so after a load or two.
 *
 * Pages are divided into granules of eight. An entry is known by the granules that it lies in: each has a line
 * of a table, by a hash, with room for 31 marks; a mark is eight bits of the hash, and a bit for each page of the
 * granule that is the entry's. The last place of a line counts the marks that found no room. So "no" is certain,
 * and "perhaps" is wrong now and then. When the table gets full, a larger one is filled and put in its place.
 *
 * A large entry is known by larger pages, eight times as large a level: so that it lies in three granules at most.
 * So is one that has no neighbour near: the filter of what lies scattered gets half as large, and it is its size
 * that decides what a look costs.
 *
 * Readers and the writer as in index.h: marks are there before the entry, and go after it. Why "no" is certain:
 *
 *	A mark moves only upward, and a reader goes only upward.
 *
 * Take an entry that is there from before the reader's section until after its look. In one of its lines its mark is v.
 * Others may have marks that are alike, and the places do not say whose is whose. So say that a place stands for the
 * entry if it holds v; and that the last place does while some v have found no room, which makes its count more than 0.
 *  - Some place always stands for it: there are as many v, in places or spilt, as there are owners, and it is one.
 *  - The highest that does never gets lower. To add a mark takes none away. Of those that are alike drop takes the
 *    lowest, and one that has spilt only when no place holds v: while the entry is there, another one is left that is
 *    as high. A count that has got stuck stays.
 *  - A reader reads each place once, in ascending order, the last place last. Look at the first place that he reads when
 *    the highest that stands for the entry is no higher: there is one, since none is higher than the last. Nor is it
 *    lower, for it was higher at the read before and has not got lower. So it is this one, and he finds it.
 *
 * "When" is a time of the writer's. Its stores are releases and the reader's loads acquires: a load that sees one of its
 * stores makes all later loads see what was stored before that one. So each load sees its place as it was at some time,
 * and these times ascend, from that of the fence that began the section. Within one access order does not matter.
 *
 * A level's bit, too, stays while the entry does. The reader loads the levels once, then the table once. A table that has
 * been replaced stays as it was then, with the entry's marks; one that takes its place had them all before.
 */
#ifndef MRN_INDEX_FILTER_H
#define MRN_INDEX_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "index/vector.h"

#define MRN_FILTER_PAGE	  12 /* its logarithm */
#define MRN_FILTER_LEVELS 16
#define MRN_FILTER_STEP \
	3 /* the logarithm of a granule's pages, and of a page's in those of the level below */
/* A range of more granules is not worth the look. */
#define MRN_FILTER_MOST 4

struct mrn_filter_line {
	uint16_t mark[MRN_VECTOR]; /* atomic; 0 is free */
} __attribute__((aligned(64)));
#define MRN_FILTER_ROOM	 (MRN_VECTOR - 1)
#define MRN_FILTER_SPILT MRN_FILTER_ROOM /* the last place: counts them */

struct mrn_filter_table {
	struct mrn_filter_table *next; /* in a list of retired ones */
	size_t size;		       /* of all this, in bytes */
	unsigned int shift;	       /* 64 less the logarithm of the number of lines */
	uint64_t marks;		       /* how many it has */
	struct mrn_filter_line line[];
};

struct mrn_filter {
	struct mrn_filter_table *table; /* atomic; NULL before the first entry */
	unsigned int shift; /* atomic: its; may be an older one's, which is enough to prefetch by */
	uint32_t levels; /* atomic: a bit for each that has entries; bit 31: some are too large */
	uint64_t count[MRN_FILTER_LEVELS + 1]; /* entries by level; the last, too large ones */
	struct mrn_filter_table *retired;
	/*
	 * Set before the first entry, or not: a forked child finds zeros in the tables, and in the index's nodes, in case that
	 * it was reading in the moment of the fork, or writing; wiped.h. Else it has copies of them, and can free them. This, too,
	 * it finds zeroed: a change that was under way goes on there with what is of no use to anybody, and gives nothing back.
	 */
	bool wiped;
};

/* Pages, the last one included. */
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

/* What pages first to last of a level have in a granule, with the hash's mark. */
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
		const uint16_t *line = t->line[hash >> t->shift].mark;

		if (mrn_vector_has(line, mrn_filter_mark(hash, granule, first, last)))
			return true;
	}
	return false;
}

/*
 * May an entry overlap [start, end)? In a section. What is not seen here came after the fence of the section's
 * beginning.
 */
static inline bool mrn_filter_may_overlap(const struct mrn_filter *f, uintptr_t start,
					  uintptr_t end)
{
	/* Acquire pairs with set_level's release: where there is a level, there is a table. So this comes first. */
	uint32_t levels = __atomic_load_n(&f->levels, __ATOMIC_ACQUIRE);
	/* Acquire: the table is as whoever put it there left it. */
	const struct mrn_filter_table *t = __atomic_load_n(&f->table, __ATOMIC_ACQUIRE);
	struct mrn_pages p = mrn_pages_of(start, end);

	if (levels >> 31)
		return true;
	for (; levels; levels &= levels - 1)
		if (mrn_filter_level_has(t, (unsigned int)__builtin_ctz(levels), p))
			return true;
	return false;
}

/* Begins to load what a look at this address will need. Not in a section: nothing of the table is read. */
static inline void mrn_filter_prefetch(const struct mrn_filter *f, uintptr_t start)
{
	const struct mrn_filter_table *t = __atomic_load_n(&f->table, __ATOMIC_RELAXED);
	unsigned int shift = __atomic_load_n(&f->shift, __ATOMIC_RELAXED);
	uint32_t levels = __atomic_load_n(&f->levels, __ATOMIC_RELAXED) & (uint32_t)INT32_MAX;
	uint64_t granule = (uint64_t)start >> (MRN_FILTER_PAGE + MRN_FILTER_STEP);

	if (!t)
		return;
	for (; levels; levels &= levels - 1) {
		unsigned int level = (unsigned int)__builtin_ctz(levels);

		/* A number: with another table's shift it may lead anywhere. */
		__builtin_prefetch(
			(const void *)((uintptr_t)t + offsetof(struct mrn_filter_table, line) +
				       sizeof(struct mrn_filter_line) *
					       (mrn_filter_hash(granule >> level * MRN_FILTER_STEP,
								level) >>
						shift)));
	}
}

/*
 * The writer's. add never fails: in a table that is too full, "perhaps" comes more often. There is one. alone: by
 * larger pages; drop is told what add was told.
 */
void mrn_filter_add(struct mrn_filter *f, struct mrn_pages p, bool alone);
void mrn_filter_drop(struct mrn_filter *f, struct mrn_pages p, bool alone);

/* Who has no neighbour within so many pages is alone. */
#define MRN_FILTER_NEAR (UINT64_C(1) << 2 * MRN_FILTER_STEP)

/* Should there be a larger table? Then a new one, without entries, or NULL without memory for it. */
bool mrn_filter_is_full(const struct mrn_filter *f);
struct mrn_filter_table *mrn_filter_larger(const struct mrn_filter *f);
void mrn_filter_table_add(struct mrn_filter_table *t, struct mrn_pages p, bool alone);
/* Puts it in the place of the old one, which is retired. */
void mrn_filter_replace(struct mrn_filter *f, struct mrn_filter_table *t);
/* Frees a list of tables. */
void mrn_filter_table_free(struct mrn_filter_table *t);

#endif
