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

static struct pages pages_of(uintptr_t start, uintptr_t end)
{
	return (struct pages){start / mrn_page_size(),
			      end > start ? (end - 1) / mrn_page_size() + 1 : 0};
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

/* The next granule with pages of p, and which of its pages those are; moves p on. NULL: there are no more. */
static struct granule *next(const struct mrn_marks *a, struct pages *p, uint64_t *first,
			    uint64_t *mask)
{
	struct leaf *leaf = leaf_of(a, p);
	unsigned int from, n;

	if (!leaf)
		return NULL;
	*first = p->at;
	from = (unsigned int)(p->at % 64);
	n = p->end - p->at < 64 - from ? (unsigned int)(p->end - p->at) : 64 - from;
	*mask = (n == 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1) << from;
	p->at += n;
	return &leaf->granule[*first / 64 % (1 << LEAF_BITS)];
}

/* ---------------------------------------------------------------------------------------------- bits */

bool mrn_marks_all(const struct mrn_marks *a, uintptr_t start, uintptr_t end, enum mrn_mark bit)
{
	struct pages p = pages_of(start, end);
	uint64_t at = p.at, first, mask;
	const struct granule *g;

	/* Acquire: what the thread that stored the bit has seen is seen, and so is each clearing before it. */
	while (at < p.end) {
		g = next(a, &p, &first, &mask);
		if (!g || first != at ||
		    (__atomic_load_n(&g->bits[bit], __ATOMIC_ACQUIRE) & mask) != mask)
			return false;
		at = p.at;
	}
	return true;
}

bool mrn_marks_has(const struct mrn_marks *a, uintptr_t start, uintptr_t end, enum mrn_mark bit)
{
	struct pages p = pages_of(start, end);
	const struct granule *g;
	uint64_t first, mask;

	while ((g = next(a, &p, &first, &mask)))
		if (__atomic_load_n(&g->bits[bit], __ATOMIC_ACQUIRE) & mask)
			return true;
	return false;
}

void mrn_marks_set(struct mrn_marks *a, uintptr_t start, uintptr_t end, enum mrn_mark bit)
{
	struct pages p = pages_of(start, end);
	uint64_t first, mask;
	struct granule *g;

	while ((g = next(a, &p, &first, &mask)))
		__atomic_store_n(&g->bits[bit], g->bits[bit] | mask, __ATOMIC_RELEASE);
}

void mrn_marks_clear(struct mrn_marks *a, uintptr_t start, uintptr_t end, enum mrn_mark bit)
{
	struct pages p = pages_of(start, end);
	uint64_t first, mask;
	struct granule *g;

	while ((g = next(a, &p, &first, &mask)))
		if (g->bits[bit] & mask)
			__atomic_store_n(&g->bits[bit], g->bits[bit] & ~mask, __ATOMIC_RELEASE);
}

void mrn_marks_clear_all(struct mrn_marks *a)
{
	for (int bit = 0; bit < MRN_MARKS; bit++)
		mrn_marks_clear(a, 0, UINTPTR_MAX, bit);
}

bool mrn_marks_run(const struct mrn_marks *a, uintptr_t *start, uintptr_t end, uintptr_t *run_end)
{
	struct pages p = pages_of(*start, end);
	uint64_t first, mask, run = 0, found = 0;
	const struct granule *g;

	while ((g = next(a, &p, &first, &mask))) {
		uint64_t set = g->bits[MRN_MARK_MAYBE] & mask, from;

		first -= first % 64;
		if (run && (first != run || !(set & 1)))
			break;
		if (!run && !set)
			continue;
		from = run ? 0 : (uint64_t)__builtin_ctzll(set);
		if (!run)
			found = first + from;
		set = ~(set >> from);
		run = first + from + (set ? (uint64_t)__builtin_ctzll(set) : 64);
		if (run != first + 64)
			break;
	}
	*start = found * mrn_page_size();
	*run_end = run * mrn_page_size();
	return run;
}
