/* SPDX-License-Identifier: BSD-3-Clause */
#include "index/filter.h"

#include "index/check.h"
#include "os/wiped.h"
#include "os/pages.h"

#define FULL	     20		/* marks per line, on average: 99 of 100 lines have room */
#define FIRST_LINES  64		/* of the first table */
#define HINTED_LINES 4096	/* of the first table with hints: smaller indexes are in a cache */
#define STUCK	     UINT16_MAX /* a count of spilt marks that no longer changes */

#define TOO_LARGE MRN_FILTER_LEVELS

unsigned int mrn_filter_level(struct mrn_pages p, bool alone)
{
	unsigned int level = alone;
	uint64_t pages = (p.last - p.first + 1) >> level * MRN_FILTER_STEP;

	while (level < TOO_LARGE && pages > 2 << MRN_FILTER_STEP) {
		pages >>= MRN_FILTER_STEP;
		level++;
	}
	return level;
}

static void set(uint16_t *mark, uint16_t value)
{
	/* Release: pairs with the acquires in mrn_vector_has. A reader that sees this sees every mark set before. */
	__atomic_store_n(mark, value, __ATOMIC_RELEASE);
}

static void line_add(uint16_t *line, uint16_t mark)
{
	uint32_t free = mrn_vector_equal(line, 0) & ~(UINT32_C(1) << MRN_FILTER_SPILT);

	if (free)
		set(&line[__builtin_ctz(free)], mark);
	else if (line[MRN_FILTER_SPILT] != STUCK && !MRN_BROKEN(FILTER_SPILT))
		set(&line[MRN_FILTER_SPILT], (uint16_t)(line[MRN_FILTER_SPILT] + 1));
}

/* Drops the lowest of equal marks, which readers read first; a spilt one only if there is no other. */
static void line_drop(uint16_t *line, uint16_t mark)
{
	uint32_t same = mrn_vector_equal(line, mark) & ~(UINT32_C(1) << MRN_FILTER_SPILT);

	if (same)
		set(&line[MRN_BROKEN(FILTER_HIGHEST) ? 31 - __builtin_clz(same)
						     : __builtin_ctz(same)],
		    0);
	else if (line[MRN_FILTER_SPILT] != STUCK && !MRN_BROKEN(FILTER_SPILT))
		set(&line[MRN_FILTER_SPILT], (uint16_t)(line[MRN_FILTER_SPILT] - 1));
}

static uint64_t each_granule(struct mrn_filter_table *t, unsigned int level, struct mrn_pages p,
			     void (*act)(uint16_t *line, uint16_t mark))
{
	uint64_t first = p.first >> level * MRN_FILTER_STEP,
		 last = p.last >> level * MRN_FILTER_STEP;
	uint64_t granule = first >> MRN_FILTER_STEP, end = (last >> MRN_FILTER_STEP) + 1;
	uint64_t n = end - granule;

	for (; granule < end; granule++) {
		uint64_t hash = mrn_filter_hash(granule, level);

		act(t->line[mrn_filter_line_of(hash, t->lines)].mark,
		    mrn_filter_mark(hash, granule, first, last));
	}
	return n;
}

uint64_t mrn_filter_table_add(struct mrn_filter_table *t, struct mrn_pages p, bool alone)
{
	unsigned int level = mrn_filter_level(p, alone);

	return level < TOO_LARGE ? each_granule(t, level, p, line_add) : 0;
}

static void set_level(struct mrn_filter *f, unsigned int level, bool on)
{
	uint32_t bit = UINT32_C(1) << (level == TOO_LARGE ? 31 : level);

	/* Release: the table is there. Pairs with the acquire in mrn_filter_may_overlap. */
	__atomic_store_n(&f->levels, on ? f->levels | bit : f->levels & ~bit, __ATOMIC_RELEASE);
}

void mrn_filter_add(struct mrn_filter *f, struct mrn_pages p, bool alone)
{
	unsigned int level = mrn_filter_level(p, alone);

	f->marks += mrn_filter_table_add(f->table, p, alone);
	if (!f->count[level]++)
		set_level(f, level, true);
}

void mrn_filter_drop(struct mrn_filter *f, struct mrn_pages p, bool alone)
{
	unsigned int level = mrn_filter_level(p, alone);

	if (level < TOO_LARGE)
		f->marks -= each_granule(f->table, level, p, line_drop);
	if (!--f->count[level])
		set_level(f, level, false);
}

/* -------------------------------------------------------------------------------------------- tables */

bool mrn_filter_is_full(const struct mrn_filter *f)
{
	return !f->table || f->marks > FULL * f->table->lines;
}

/* The level that most entries are on. */
static unsigned int fullest_level(const struct mrn_filter *f)
{
	unsigned int most = 0;

	for (unsigned int level = 1; level < MRN_FILTER_LEVELS; level++)
		most = f->count[level] > f->count[most] ? level : most;
	return most;
}

/* NULL without memory. */
static struct mrn_filter_table *make(const struct mrn_filter *f, size_t lines, size_t hint_lines)
{
	size_t hints = sizeof(struct mrn_filter_table) + lines * sizeof(struct mrn_filter_line);
	size_t size = hints + hint_lines * sizeof(struct mrn_hint_line);
	struct mrn_filter_table *t;

	if (MRN_ALLOC_FAILS())
		return NULL;
	t = f->wiped ? mrn_wiped_alloc(size) : mrn_pages_alloc_large(size, false);
	if (!t)
		return NULL;
	t->size = size;
	t->lines = lines;
	t->hint_level = fullest_level(f);
	if (hint_lines)
		t->hint = (struct mrn_hint_line *)((char *)t + hints);
	return t;
}

struct mrn_filter_table *mrn_filter_larger(const struct mrn_filter *f)
{
	size_t lines = f->table ? 2 * f->table->lines : FIRST_LINES;
	struct mrn_filter_table *t = NULL;

	if (f->hints && lines >= HINTED_LINES && !MRN_BROKEN(HINT_MEMORY))
		t = make(f, lines, MRN_HINT_LINES * lines);
	return t ? t : make(f, lines, 0);
}

void mrn_filter_replace(struct mrn_filter *f, struct mrn_filter_table *t)
{
	struct mrn_filter_table *old = f->table;

	/* Release: pairs with the acquire in mrn_filter_may_overlap. */
	__atomic_store_n(&f->table, t, __ATOMIC_RELEASE);
	__atomic_store_n(&f->lines, t->lines, __ATOMIC_RELAXED);
	__atomic_store_n(&f->hint, t->hint, __ATOMIC_RELAXED);
	__atomic_store_n(&f->hint_level, t->hint_level, __ATOMIC_RELAXED);
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
		mrn_wiped_free(t, t->size);
	}
}
