/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A filter in front of the index: for a range that no entry is near, it says so after a few loads.
 *
 * Addresses are divided into granules; an entry is known by the few that it lies in, of a size that goes with
 * its own: a level. A granule has a word of a table, by a hash, with room for seven fingerprints of eight
 * bits, and a count of those that found no room. So "no" is certain, and "perhaps" is wrong now and then.
 * When the table gets full, a larger one is filled and put in its place.
 *
 * Readers and the writer as in index.h: what is added is there before the entry, and goes after it.
 */
#ifndef MRN_CORE_FILTER_H
#define MRN_CORE_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MRN_FILTER_LEVELS 12
/* Granules of level l: 2^(MRN_FILTER_SHIFT + l * MRN_FILTER_STEP) bytes. */
#define MRN_FILTER_SHIFT 12
#define MRN_FILTER_STEP	 3
/* A range of more granules is not worth the look. */
#define MRN_FILTER_MOST 4

struct mrn_filter_table {
	struct mrn_filter_table *next; /* in a list of retired ones */
	size_t size;		       /* of all this, in bytes */
	unsigned int shift;	       /* 64 less the logarithm of the number of words */
	uint64_t prints;	       /* how many it has */
	uint64_t word[];
};

struct mrn_filter {
	struct mrn_filter_table *table; /* atomic; NULL before the first entry */
	uint32_t levels; /* atomic: a bit for each that has entries; bit 31: some are too large */
	uint64_t count[MRN_FILTER_LEVELS + 1]; /* entries by level; the last, too large ones */
	struct mrn_filter_table *retired;
};

struct mrn_print {
	uint64_t place; /* the word's number is its highest bits */
	uint64_t bytes; /* the fingerprint, never 0, in each byte */
};

static inline struct mrn_print mrn_filter_print(uint64_t granule, unsigned int level)
{
	/* Fibonacci hashing, twice: the first spreads neighbours, the second is for the fingerprint. */
	uint64_t h = (granule + ((uint64_t)level << 56)) * UINT64_C(0x9e3779b97f4a7c15);

	h = (h ^ (h >> 32)) * UINT64_C(0xd6e8feb86659fd93);
	return (struct mrn_print){h, ((h & 0x7f) + 1) * UINT64_C(0x0101010101010101)};
}

/* Does a word know the fingerprint, or has it had no room for some? */
static inline bool mrn_filter_word_has(uint64_t word, uint64_t bytes)
{
	uint64_t x = word ^ bytes;

	/* A byte of x is 0: the borrow from it reaches its highest bit. */
	return (word >> 56) |
	       ((x - UINT64_C(0x0101010101010101)) & ~x & UINT64_C(0x8080808080808080));
}

static inline bool mrn_filter_level_has(const struct mrn_filter_table *t, unsigned int level,
					uintptr_t start, uintptr_t end)
{
	unsigned int shift = MRN_FILTER_SHIFT + level * MRN_FILTER_STEP;
	uint64_t first = (uint64_t)start >> shift, last = ((uint64_t)end - 1) >> shift;

	if (last - first >= MRN_FILTER_MOST)
		return true;
	for (; first <= last; first++) {
		struct mrn_print p = mrn_filter_print(first, level);

		if (mrn_filter_word_has(__atomic_load_n(&t->word[p.place >> t->shift],
							__ATOMIC_RELAXED),
					p.bytes))
			return true;
	}
	return false;
}

/*
 * May an entry overlap [start, end)? In a section. Relaxed loads: an entry that is not seen here is one that
 * came after the fence of the section's beginning.
 */
static inline bool mrn_filter_may_overlap(const struct mrn_filter *f, uintptr_t start,
					  uintptr_t end)
{
	/* Acquire: the table is as whoever put it there left it. */
	const struct mrn_filter_table *t = __atomic_load_n(&f->table, __ATOMIC_ACQUIRE);
	uint32_t levels = __atomic_load_n(&f->levels, __ATOMIC_RELAXED);

	if (levels >> 31)
		return true;
	for (; levels; levels &= levels - 1)
		if (mrn_filter_level_has(t, (unsigned int)__builtin_ctz(levels), start, end))
			return true;
	return false;
}

/* The writer's. add never fails: in a table that is too full, "perhaps" comes more often. There is one. */
void mrn_filter_add(struct mrn_filter *f, uintptr_t start, uintptr_t end);
void mrn_filter_drop(struct mrn_filter *f, uintptr_t start, uintptr_t end);

/* Should there be a larger table? Then a new one, without entries, or NULL without memory for it. */
bool mrn_filter_is_full(const struct mrn_filter *f);
struct mrn_filter_table *mrn_filter_larger(const struct mrn_filter *f);
void mrn_filter_table_add(struct mrn_filter_table *t, uintptr_t start, uintptr_t end);
/* Puts it in the place of the old one, which is retired. */
void mrn_filter_replace(struct mrn_filter *f, struct mrn_filter_table *t);
/* Frees a list of tables. */
void mrn_filter_table_free(struct mrn_filter_table *t);

#endif
