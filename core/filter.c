/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/filter.h"

#include "os/pages.h"

#define ROOM	   7			  /* fingerprints of a word */
#define SPILL	   (UINT64_C(1) << 56)	  /* one that found no room */
#define STUCK	   (UINT64_C(0xff) << 56) /* so many that nobody counts any more */
#define FULL	   3			  /* fingerprints a word, on average */
#define FIRST_BITS 9			  /* words of the first table */
#define MORE_BITS  2

#define TOO_LARGE MRN_FILTER_LEVELS

/* The level where a range lies in three granules at most. */
static unsigned int level_of(uintptr_t start, uintptr_t end)
{
	uint64_t pages = (uint64_t)(end - start) >> MRN_FILTER_SHIFT;
	unsigned int level = 0;

	while (level < TOO_LARGE && pages > 2) {
		pages >>= MRN_FILTER_STEP;
		level++;
	}
	return level;
}

static void set_word(uint64_t *word, uint64_t value)
{
	/* Relaxed: the entry itself is released after this, and acquired by who finds it. */
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static void word_add(uint64_t *at, uint64_t bytes)
{
	uint64_t word = *at;

	for (unsigned int i = 0; i < ROOM; i++) {
		uint64_t byte = UINT64_C(0xff) << 8 * i;

		if (word & byte)
			continue;
		set_word(at, word | (bytes & byte));
		return;
	}
	if (word < STUCK)
		set_word(at, word + SPILL);
}

static void word_drop(uint64_t *at, uint64_t bytes)
{
	uint64_t word = *at;

	/* Which of two that are alike goes is all the same. */
	for (unsigned int i = 0; i < ROOM; i++) {
		uint64_t byte = UINT64_C(0xff) << 8 * i;

		if ((word & byte) != (bytes & byte))
			continue;
		set_word(at, word & ~byte);
		return;
	}
	if (word < STUCK)
		set_word(at, word - SPILL);
}

static uint64_t each_granule(struct mrn_filter_table *t, unsigned int level, uintptr_t start,
			     uintptr_t end, void (*act)(uint64_t *word, uint64_t bytes))
{
	unsigned int shift = MRN_FILTER_SHIFT + level * MRN_FILTER_STEP;
	uint64_t first = (uint64_t)start >> shift, last = ((uint64_t)end - 1) >> shift;

	for (uint64_t g = first; g <= last; g++) {
		struct mrn_print p = mrn_filter_print(g, level);

		act(&t->word[p.place >> t->shift], p.bytes);
	}
	return last - first + 1;
}

void mrn_filter_table_add(struct mrn_filter_table *t, uintptr_t start, uintptr_t end)
{
	unsigned int level = level_of(start, end);

	if (level < TOO_LARGE)
		t->prints += each_granule(t, level, start, end, word_add);
}

static void set_level(struct mrn_filter *f, unsigned int level, bool on)
{
	uint32_t bit = UINT32_C(1) << (level == TOO_LARGE ? 31 : level);

	__atomic_store_n(&f->levels, on ? f->levels | bit : f->levels & ~bit, __ATOMIC_RELAXED);
}

void mrn_filter_add(struct mrn_filter *f, uintptr_t start, uintptr_t end)
{
	unsigned int level = level_of(start, end);

	mrn_filter_table_add(f->table, start, end);
	if (!f->count[level]++)
		set_level(f, level, true);
}

void mrn_filter_drop(struct mrn_filter *f, uintptr_t start, uintptr_t end)
{
	unsigned int level = level_of(start, end);

	if (level < TOO_LARGE)
		f->table->prints -= each_granule(f->table, level, start, end, word_drop);
	if (!--f->count[level])
		set_level(f, level, false);
}

/* -------------------------------------------------------------------------------------------- tables */

static size_t words(const struct mrn_filter_table *t)
{
	return (size_t)1 << (64 - t->shift);
}

bool mrn_filter_is_full(const struct mrn_filter *f)
{
	return !f->table || f->table->prints > FULL * words(f->table);
}

struct mrn_filter_table *mrn_filter_larger(const struct mrn_filter *f)
{
	unsigned int shift = f->table ? f->table->shift - MORE_BITS : 64 - FIRST_BITS;
	size_t size = sizeof(struct mrn_filter_table) + (sizeof(uint64_t) << (64 - shift));
	struct mrn_filter_table *t = mrn_pages_alloc_large(size);

	if (!t)
		return NULL;
	t->size = size;
	t->shift = shift;
	return t;
}

void mrn_filter_replace(struct mrn_filter *f, struct mrn_filter_table *t)
{
	struct mrn_filter_table *old = f->table;

	/* Release: pairs with the acquire in mrn_filter_may_overlap. */
	__atomic_store_n(&f->table, t, __ATOMIC_RELEASE);
	if (!old)
		return;
	old->next = f->retired;
	f->retired = old;
}

void mrn_filter_table_free(struct mrn_filter_table *t)
{
	struct mrn_filter_table *next;

	for (; t; t = next) {
		next = t->next;
		mrn_pages_free(t, t->size);
	}
}
