/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/marks.h"

#include <stddef.h>

#include "os/pages.h"

#include "os/event_path.h"

/*
 * A tree of three levels over granules of 64 pages. Even with five levels of page tables, 57 bits of address fit. Leaves
 * and branches have the same size.
 */
#define PAGE_BITS    6
#define LEAF_BITS    9
#define BRANCH_BITS  11
#define ROOT_BITS    19
#define LEAF_PAGES   (UINT64_C(1) << (PAGE_BITS + LEAF_BITS))
#define BRANCH_PAGES (LEAF_PAGES << BRANCH_BITS)
#define ROOT_SIZE    (UINT32_C(1) << ROOT_BITS)

/* Of one range: more take too long. */
#define MOST_PAGES (UINT64_C(1) << 18)

/* The reserve, and what it is if there are not so many addresses (RLIMIT_AS, strict overcommit). */
#define UNITS_MOST  4096u
#define UNITS_LEAST 64u

struct granule {
	uint64_t bits[MRN_MARKS]; /* atomic */
};

struct leaf {
	struct granule granule[1 << LEAF_BITS];
};

struct branch {
	struct leaf *leaf[1 << BRANCH_BITS]; /* atomic; set once */
};

union unit {
	struct leaf leaf;
	struct branch branch;
};
_Static_assert(sizeof(struct leaf) == sizeof(struct branch), "units of one size");

struct mrn_marks_tree {
	struct branch *root[ROOT_SIZE]; /* atomic; set once */
	union unit unit[];
};

/* Pages by number; end is not among them. */
struct pages {
	uint64_t at, end;
};

/* A page's size is a power of two; the compiler would divide. */
static unsigned int page_shift(void)
{
	return (unsigned int)__builtin_ctzll(mrn_page_size());
}

static struct pages pages_of(uintptr_t start, uintptr_t end)
{
	return (struct pages){start >> page_shift(),
			      end > start ? ((end - 1) >> page_shift()) + 1 : 0};
}

/* ------------------------------------------------------------------------------------------ the tree */

static void raise(uint32_t *at, uint32_t to)
{
	if (*at < to)
		__atomic_store_n(at, to, __ATOMIC_RELEASE);
}

void mrn_marks_reserve(struct mrn_marks *a, enum mrn_marks_of of)
{
	static struct {
		struct mrn_marks_tree *tree;
		uint32_t units;
	} reserve[MRN_NR_MARKS_OF];
	struct mrn_marks_tree **tree = &reserve[of].tree;

	/* Other threads may read it. */
	if (a->tree)
		return;
	for (uint32_t n = UNITS_MOST; !*tree && n >= UNITS_LEAST; n /= 8) {
		*tree = mrn_pages_reserve_wiped_on_fork(sizeof(**tree) + n * sizeof(union unit));
		reserve[of].units = n;
	}
	a->tree = *tree;
	a->units = *tree ? reserve[of].units : 0;
}

/* Zeroed. NULL: there is none left. */
static union unit *new_unit(struct mrn_marks *a)
{
	return a->used < a->units ? &a->tree->unit[a->used++] : NULL;
}

/* Release, here and below: whoever finds it finds it zeroed. */
static struct branch *get_branch(struct mrn_marks *a, uint32_t i)
{
	struct branch **at = &a->tree->root[i];

	if (!*at) {
		union unit *u = new_unit(a);

		__atomic_store_n(at, u ? &u->branch : NULL, __ATOMIC_RELEASE);
		raise(&a->from_top, ROOT_SIZE - i);
		raise(&a->end, i + 1);
	}
	return *at;
}

static bool get_leaf(struct mrn_marks *a, struct branch *b, uint64_t i)
{
	if (!b->leaf[i]) {
		union unit *u = new_unit(a);

		__atomic_store_n(&b->leaf[i], u ? &u->leaf : NULL, __ATOMIC_RELEASE);
	}
	return b->leaf[i];
}

bool mrn_marks_make(struct mrn_marks *a, uintptr_t start, uintptr_t end)
{
	struct pages p = pages_of(start, end);

	if (p.end > BRANCH_PAGES << ROOT_BITS || p.end - p.at > MOST_PAGES || !a->tree)
		return false;
	for (uint64_t at = p.at & ~(LEAF_PAGES - 1); at < p.end; at += LEAF_PAGES) {
		struct branch *b = get_branch(a, (uint32_t)(at / BRANCH_PAGES));

		if (!b || !get_leaf(a, b, at / LEAF_PAGES % (1 << BRANCH_BITS)))
			return false;
	}
	return true;
}

static struct leaf *leaf_of(const struct mrn_marks *a, struct pages *p)
{
	/* Acquire, here and below, pairs with the release of whoever added what is found: it is zeroed, and has a tree. */
	uint64_t end = __atomic_load_n(&a->end, __ATOMIC_ACQUIRE) * BRANCH_PAGES;
	uint64_t first =
		(ROOT_SIZE - __atomic_load_n(&a->from_top, __ATOMIC_RELAXED)) * BRANCH_PAGES;

	if (p->at < first)
		p->at = first;
	while (p->at < p->end && p->at < end) {
		const struct branch *branch =
			__atomic_load_n(&a->tree->root[p->at / BRANCH_PAGES], __ATOMIC_ACQUIRE);
		struct leaf *leaf;

		if (!branch) {
			p->at = (p->at / BRANCH_PAGES + 1) * BRANCH_PAGES;
			continue;
		}
		leaf = __atomic_load_n(&branch->leaf[p->at / LEAF_PAGES % (1 << BRANCH_BITS)],
				       __ATOMIC_ACQUIRE);
		if (leaf)
			return leaf;
		p->at = (p->at / LEAF_PAGES + 1) * LEAF_PAGES;
	}
	p->at = p->end;
	return NULL;
}

/* ---------------------------------------------------------------------------------------------- bits */

/* Of a granule's word of one mark: mask has the pages that are meant, and the word's first page is `page`. */
typedef bool word_fn(uint64_t *word, uint64_t mask, uint64_t page, void *ctx);

/*
 * Calls fn for the words of [start, end) in turn, until it returns false; then it does, too. Where nothing was ever marked
 * there are no words; if `whole`, that ends it. fn is inlined.
 */
static inline __attribute__((always_inline)) bool each_word(const struct mrn_marks *a,
							    uintptr_t start, uintptr_t end,
							    enum mrn_mark bit, bool whole,
							    word_fn *fn, void *ctx)
{
	struct pages p = pages_of(start, end);

	while (p.at < p.end) {
		uint64_t at = p.at, page, mask, stop;
		struct leaf *leaf = leaf_of(a, &p);
		struct granule *g;

		if (whole && (!leaf || p.at != at))
			return false;
		if (!leaf)
			return true;
		stop = (p.at | (LEAF_PAGES - 1)) + 1;
		stop = stop < p.end ? stop : p.end;
		g = &leaf->granule[p.at / 64 % (1 << LEAF_BITS)];
		mask = ~UINT64_C(0) << p.at % 64;
		for (page = p.at & ~UINT64_C(63); stop - page > 64; page += 64, mask = ~UINT64_C(0))
			if (!fn(&(g++)->bits[bit], mask, page, ctx))
				return false;
		if (!fn(&g->bits[bit], mask & ~UINT64_C(0) >> (page + 64 - stop), page, ctx))
			return false;
		p.at = stop;
	}
	return true;
}

/*
 * Acquire: what the thread that stored the bit has seen is seen, and so is each clearing before it. Whoever sets a bit
 * that was cleared has seen what was done before the clearing.
 */
static inline bool has_all(uint64_t *word, uint64_t mask, uint64_t page, void *ctx)
{
	return (__atomic_load_n(word, __ATOMIC_ACQUIRE) & mask) == mask;
}

/* In this order. */
static inline bool has_maybe_and_sure(uint64_t *maybe, uint64_t mask, uint64_t page, void *ctx)
{
	return has_all(maybe, mask, page, ctx) &&
	       has_all(maybe + MRN_MARK_SURE - MRN_MARK_MAYBE, mask, page, ctx);
}

static inline bool has_none(uint64_t *word, uint64_t mask, uint64_t page, void *ctx)
{
	return !(__atomic_load_n(word, __ATOMIC_ACQUIRE) & mask);
}

static inline bool set_all(uint64_t *word, uint64_t mask, uint64_t page, void *ctx)
{
	__atomic_fetch_or(word, mask, __ATOMIC_ACQ_REL);
	return true;
}

static inline bool clear_all(uint64_t *word, uint64_t mask, uint64_t page, void *ctx)
{
	if (__atomic_load_n(word, __ATOMIC_RELAXED) & mask)
		__atomic_fetch_and(word, ~mask, __ATOMIC_ACQ_REL);
	return true;
}

bool mrn_marks_all(const struct mrn_marks *a, uintptr_t start, uintptr_t end, enum mrn_mark bit)
{
	return each_word(a, start, end, bit, true, has_all, NULL);
}

bool mrn_marks_known(const struct mrn_marks *a, uintptr_t start, uintptr_t end)
{
	return each_word(a, start, end, MRN_MARK_MAYBE, true, has_maybe_and_sure, NULL);
}

bool mrn_marks_has(const struct mrn_marks *a, uintptr_t start, uintptr_t end, enum mrn_mark bit)
{
	return !each_word(a, start, end, bit, false, has_none, NULL);
}

void mrn_marks_set(struct mrn_marks *a, uintptr_t start, uintptr_t end, enum mrn_mark bit)
{
	each_word(a, start, end, bit, false, set_all, NULL);
}

void mrn_marks_clear(struct mrn_marks *a, uintptr_t start, uintptr_t end, enum mrn_mark bit)
{
	each_word(a, start, end, bit, false, clear_all, NULL);
}

void mrn_marks_clear_all(struct mrn_marks *a)
{
	for (int bit = 0; bit < MRN_MARKS; bit++)
		mrn_marks_clear(a, 0, UINTPTR_MAX, bit);
}

/* Of pages that are maybe. end is 0 until the first is found. */
struct run {
	uint64_t start, end;
};

/* False at the end of the run. */
static inline bool lengthen(uint64_t *word, uint64_t mask, uint64_t page, void *ctx)
{
	struct run *run = ctx;
	uint64_t set = __atomic_load_n(word, __ATOMIC_RELAXED) & mask, from = 0;

	if (run->end && run->end != page)
		return false;
	if (!run->end) {
		if (!set)
			return true;
		from = (uint64_t)__builtin_ctzll(set);
		run->start = page + from;
	}
	set = ~(set >> from);
	run->end = page + from + (set ? (uint64_t)__builtin_ctzll(set) : 64);
	return run->end == page + 64;
}

bool mrn_marks_run(const struct mrn_marks *a, uintptr_t *start, uintptr_t end, uintptr_t *run_end)
{
	struct run run = {0, 0};

	each_word(a, *start, end, MRN_MARK_MAYBE, false, lengthen, &run);
	*start = run.start << page_shift();
	*run_end = run.end << page_shift();
	return run.end;
}
