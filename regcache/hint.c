/* SPDX-License-Identifier: BSD-3-Clause */
/* Hints: where a hit looks. A get that finds none searches the mm's index, under the lock, and leaves a hint. */
#include <errno.h>

#include "os/pages.h"
#include "regcache/cache.h"

/* A line of four hints for each entry: few lines overflow. */
static unsigned int bits(const struct mrn_regcache *c)
{
	unsigned int n = 1;

	while ((1u << n) < c->max_entries)
		n++;
	return n;
}

int mrn_hints_make(struct mrn_regcache *c)
{
	c->hint_shift = 64 - bits(c);
	c->hint = mrn_pages_alloc(sizeof(struct hint) << bits(c));
	return c->hint ? 0 : -ENOMEM;
}

void mrn_hints_free(struct mrn_regcache *c)
{
	if (c->hint)
		mrn_pages_free(c->hint, sizeof(struct hint) << bits(c));
}

/* True if a get of this page could use e. */
static bool is_good(const struct entry *e, uint64_t page)
{
	return e && !(__atomic_load_n(&e->word, __ATOMIC_RELAXED) & WORD_DEAD) &&
	       mrn_entry_covers(e, page << HINT_PAGE, (page + 1) << HINT_PAGE, 0);
}

/* The page's own place; else one whose hint is stale; else another page's. */
static unsigned int place(struct mrn_regcache *c, const struct hint *h, uint64_t page)
{
	for (unsigned int i = 0; i < HINT_WAYS; i++)
		if (h->page[i] == page)
			return i;
	for (unsigned int i = 0; i < HINT_WAYS; i++)
		if (!is_good(h->entry[i], h->page[i]))
			return i;
	return c->hint_turn++ % HINT_WAYS;
}

void mrn_hint_note(struct mrn_regcache *c, uintptr_t addr, struct entry *e)
{
	uint64_t page = (uint64_t)addr >> HINT_PAGE;
	struct hint *h = mrn_hint_line(c, page);
	unsigned int i = place(c, h, page);

	__atomic_store_n(&h->entry[i], e, __ATOMIC_RELAXED);
	__atomic_store_n(&h->page[i], page, __ATOMIC_RELAXED);
}
