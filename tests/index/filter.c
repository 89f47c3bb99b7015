/* SPDX-License-Identifier: BSD-3-Clause */
/* What the index is made of: numbers looked at 32 at once, and the filter in front. */
#include "index/filter.h"

#include "tests/core/fixture.h"
#include "index/vector.h"

/* ------------------------------------------------------------------------------------------------ vectors */

/* Mostly close to each other, so that all comparisons come out either way; and the ends of the type. */
static int16_t some_near(struct test_rand *r)
{
	switch (below(r, 8)) {
	case 0:
		return INT16_MIN;
	case 1:
		return INT16_MAX;
	case 2:
		return (int16_t)test_rand(r);
	default:
		return (int16_t)((int)below(r, 12) - 6);
	}
}

static unsigned int below_or_at(const int16_t *number, int16_t x)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < MRN_VECTOR; i++)
		n += number[i] <= x;
	return n;
}

static uint16_t some_mark(struct test_rand *r)
{
	static const uint16_t high[] = {0, 0x0100, 0x7f00, 0x8000, 0xff00};
	uint16_t low = (uint16_t)below(r, 2) ? (uint16_t)(1u << below(r, 8))
					     : (uint16_t)below(r, 256);

	return high[below(r, 5)] | low;
}

static uint32_t those_equal(const uint16_t *mark, uint16_t x)
{
	uint32_t mask = 0;

	for (unsigned int i = 0; i < MRN_VECTOR; i++)
		mask |= (uint32_t)(mark[i] == x) << i;
	return mask;
}

static bool one_has(const uint16_t *mark, uint16_t x)
{
	bool has = mark[MRN_VECTOR - 1] != 0;

	for (unsigned int i = 0; i < MRN_VECTOR; i++)
		has |= mark[i] >> 8 == x >> 8 && (mark[i] & x & 0xff);
	return has;
}

static void check_marks(const uint16_t *mark, uint16_t x)
{
	CHECK_EQ(mrn_vector_equal(mark, x), those_equal(mark, x));
	CHECK_EQ(mrn_vector_has(mark, x), one_has(mark, x));
}

static void vectors(void)
{
	static int16_t first[MRN_VECTOR] __attribute__((aligned(64))),
		last[MRN_VECTOR] __attribute__((aligned(64))),
		rising[MRN_VECTOR] __attribute__((aligned(64)));
	static uint16_t mark[MRN_VECTOR] __attribute__((aligned(64)));
	struct test_rand r = rand_stream(1);

	for (unsigned int round = 0; round < ROUNDS(20000u); round++) {
		int16_t from = some_near(&r), to = some_near(&r);
		uint16_t x = some_mark(&r);
		uint32_t within = 0;

		for (unsigned int i = 0; i < MRN_VECTOR; i++) {
			first[i] = some_near(&r);
			last[i] = some_near(&r);
			mark[i] = some_mark(&r);
			within |= (uint32_t)(first[i] <= to && last[i] >= from) << i;
			rising[i] = some_near(&r);
			for (unsigned int k = i; k && rising[k] < rising[k - 1]; k--) {
				int16_t higher = rising[k - 1];

				rising[k - 1] = rising[k];
				rising[k] = higher;
			}
		}
		CHECK_EQ(mrn_vector_within(first, last, from, to), within);
		CHECK_EQ(mrn_vector_count(rising, from), below_or_at(rising, from));
		check_marks(mark, x);
		/* The last one counts by itself. */
		mark[MRN_VECTOR - 1] = 0;
		check_marks(mark, x);
		/* Of many, one is mostly right: now only one is left. */
		for (unsigned int i = 0; i < MRN_VECTOR - 1; i++)
			if (i != round % MRN_VECTOR)
				mark[i] = (uint16_t)(x + 0x100);
		check_marks(mark, x);
	}
}

TEST(vector_is_what_a_loop_says)
{
	vectors();
}

TEST(vector_without_vectors)
{
	mrn_broken_NO_VECTORS = true;
	vectors();
}

/* ------------------------------------------------------------------------------------------------- filter */

#define PAGE_BYTES ((uintptr_t)1 << MRN_FILTER_PAGE)

struct member {
	uintptr_t start, end;
	bool in, alone;
};

/* As the index uses it. */
struct model {
	struct mrn_filter filter;
	struct member *member;
	unsigned int n;
	uint64_t tables;
};

static void model_init(struct model *m, unsigned int n)
{
	memset(m, 0, sizeof(*m));
	m->n = n;
	m->member = calloc(n, sizeof(*m->member));
	CHECK(m->member != NULL);
}

static void model_destroy(struct model *m)
{
	mrn_filter_table_free(m->filter.retired);
	mrn_filter_table_free(m->filter.table);
	free(m->member);
}

static void grow(struct model *m)
{
	struct mrn_filter_table *t = mrn_filter_larger(&m->filter);
	uint64_t marks = 0;

	CHECK(t != NULL);
	for (unsigned int k = 0; k < m->n; k++)
		if (m->member[k].in)
			marks += mrn_filter_table_add(t,
						      mrn_pages_of(m->member[k].start,
								   m->member[k].end),
						      m->member[k].alone);
	CHECK_EQ(marks, m->filter.marks);
	mrn_filter_replace(&m->filter, t);
	m->tables++;
}

static void add(struct model *m, unsigned int k, uintptr_t start, uintptr_t end, bool alone)
{
	if (mrn_filter_is_full(&m->filter))
		grow(m);
	m->member[k] = (struct member){start, end, true, alone};
	mrn_filter_add(&m->filter, mrn_pages_of(start, end), alone);
}

static void drop(struct model *m, unsigned int k)
{
	struct member *x = &m->member[k];

	mrn_filter_drop(&m->filter, mrn_pages_of(x->start, x->end), x->alone);
	x->in = false;
}

static bool may_overlap(struct model *m, uintptr_t start, uintptr_t end)
{
	return mrn_filter_may_overlap(&m->filter, start, end);
}

/* A part of it, its surroundings, and something that only touches a byte of it. */
static void check_member(struct model *m, unsigned int k, struct test_rand *r)
{
	uintptr_t start = m->member[k].start, end = m->member[k].end;
	uintptr_t part = start + test_rand_below(r, end - start);
	uintptr_t before = test_rand_below(r, start + 1), room = UINTPTR_MAX - end;
	uintptr_t beyond = end + (room ? test_rand_below(r, room) : 0);

	CHECK(may_overlap(m, start, end));
	CHECK(may_overlap(m, part, part + 1));
	CHECK(may_overlap(m, part, end));
	CHECK(may_overlap(m, before, start + 1));
	CHECK(may_overlap(m, end - 1, beyond > end ? beyond : end));
	CHECK(may_overlap(m, before, beyond > end ? beyond : end));
}

static void check_members(struct model *m, struct test_rand *r)
{
	for (unsigned int k = 0; k < m->n; k++)
		if (m->member[k].in)
			check_member(m, k, r);
}

/* When nothing is in it, it says so for every range, and no mark is left. */
static void check_empty(struct model *m, struct test_rand *r)
{
	const struct mrn_filter_table *t = m->filter.table;

	CHECK_EQ(m->filter.levels, 0);
	CHECK_EQ(m->filter.marks, 0);
	CHECK(!may_overlap(m, 0, UINTPTR_MAX));
	for (size_t i = 0; i < t->lines; i++)
		for (unsigned int k = 0; k < MRN_VECTOR; k++)
			CHECK_EQ(t->line[i].mark[k], 0);
	for (int i = 0; i < 1000; i++) {
		uintptr_t start = test_rand(r) >> below(r, 64);

		CHECK(!may_overlap(m, start,
				   start + PAGE_BYTES < start ? UINTPTR_MAX : start + PAGE_BYTES));
	}
}

/* Ranges of up to 2^bits bytes, that begin below span. */
static void no_false_negatives(uint64_t stream, unsigned int n, unsigned int bits, uintptr_t span)
{
	struct test_rand r = rand_stream(stream);
	unsigned int in = 0;
	struct model m;

	model_init(&m, n);
	for (unsigned int i = 0; i < 4 * n; i++) {
		unsigned int k = below(&r, n);
		uintptr_t start = test_rand_below(&r, span);
		uintptr_t length = 1 + (test_rand(&r) >> (64 - (bits ? bits : 1)));

		if (m.member[k].in) {
			drop(&m, k);
			in--;
		} else {
			if (length > UINTPTR_MAX - start)
				length = UINTPTR_MAX - start;
			add(&m, k, start, start + length, below(&r, 2));
			in++;
			check_member(&m, k, &r);
		}
		if (i % (n / 4) == 0)
			check_members(&m, &r);
	}
	CHECK(n < 3000 || m.tables > 1);
	for (unsigned int k = 0; k < n; k++) {
		if (m.member[k].in)
			drop(&m, k);
		if (k % (n / 8) == 0)
			check_members(&m, &r);
	}
	check_empty(&m, &r);
	model_destroy(&m);
}

TEST(filter_has_no_false_negatives)
{
	for (unsigned int bits = 1; bits <= 64; bits += 3)
		no_false_negatives(bits, ROUNDS(800), bits, UINTPTR_MAX);
	no_false_negatives(101, ROUNDS(20000), 14, PAGE_BYTES << 24);
	/* Few granules, many marks in each. */
	no_false_negatives(102, ROUNDS(8000), 13, PAGE_BYTES << 6);
	no_false_negatives(103, ROUNDS(8000), 40, UINTPTR_MAX);
}

TEST(filter_has_no_false_negatives_without_vectors)
{
	mrn_broken_NO_VECTORS = true;
	no_false_negatives(201, ROUNDS(4000), 14, PAGE_BYTES << 24);
	no_false_negatives(202, ROUNDS(4000), 13, PAGE_BYTES << 6);
}

/* More marks of a granule than its line has room for; the last in, and the first out. */
TEST(filter_counts_what_spills)
{
	enum { N = 3 * MRN_FILTER_ROOM };
	struct test_rand r = rand_stream(301);
	struct model m;

	model_init(&m, N);
	for (unsigned int k = 0; k < N; k++)
		add(&m, k, PAGE_BYTES * (k % 8), PAGE_BYTES * (k % 8 + 1), false);
	for (unsigned int k = 0; k < N; k++) {
		check_members(&m, &r);
		drop(&m, k);
	}
	check_empty(&m, &r);
	/* All the room is taken by one page, and then there is another. */
	for (unsigned int k = 0; k < N; k++)
		add(&m, k, k < N - 1 ? 0 : PAGE_BYTES * 5, k < N - 1 ? PAGE_BYTES : PAGE_BYTES * 6,
		    false);
	check_members(&m, &r);
	for (unsigned int k = 0; k < N; k++) {
		drop(&m, k);
		check_members(&m, &r);
	}
	check_empty(&m, &r);
	model_destroy(&m);
}
TWIN(filter_counts_what_spills, forgotten, BREAK(FILTER_SPILT));

/*
 * Pages, far from any member: a table of lines that have up to 20 marks says "perhaps" for up to 20 of 256 pages
 * and level, when each mark has all of its granule's pages.
 */
static void false_positives(const char *what, bool alone, uintptr_t pages, double bound)
{
	const unsigned int n = (unsigned int)ROUNDS(40000), looks = 200000;
	struct test_rand r = rand_stream(401);
	unsigned int wrong = 0;
	double part;
	struct model m;

	model_init(&m, n);
	/* Members in the lower half of the addresses, questions in the upper. */
	for (unsigned int k = 0; k < n; k++) {
		uintptr_t start = (test_rand(&r) >> 20) * PAGE_BYTES & (UINTPTR_MAX >> 1);

		add(&m, k, start, start + pages * PAGE_BYTES, alone);
	}
	for (unsigned int i = 0; i < looks; i++) {
		uintptr_t start = (test_rand(&r) >> 13) * PAGE_BYTES | (uintptr_t)1 << 63;

		wrong += may_overlap(&m, start - PAGE_BYTES, start);
	}
	part = (double)wrong / looks;
	NOTE("%s: %u of %u questions, %.2f%%", what, wrong, looks, 100 * part);
	CHECK(part <= bound);
	model_destroy(&m);
}

TEST(filter_false_positives_are_few)
{
	/* A page of eight; and in one line of a hundred there is no room. */
	false_positives("single pages", false, 1, 0.03);
	false_positives("single pages, alone", true, 1, 0.03);
	false_positives("granules", false, 8, 0.09);
	false_positives("ten thousand pages", false, 10000, 0.09);
}

/* ---------------------------------------------------------------------------------------------- first look */

/*
 * The first entry comes while a reader is between two looks at the filter. It stands across two pages, of which
 * one or the other cannot be read; when the reader gets there, the entry is added.
 */
static struct {
	struct mrn_filter *filter;
	char *pages;
} first_look;

static void add_first(int sig, siginfo_t *info, void *context)
{
	struct mrn_filter *f = first_look.filter;
	struct mrn_filter_table *t;

	(void)sig;
	(void)info;
	(void)context;
	CHECK_EQ(mrn_sys3(SYS_mprotect, (long)first_look.pages, (long)(2 * mrn_page_size()),
			  PROT_READ | PROT_WRITE),
		 0);
	/* A fault of another kind comes again. */
	CHECK(f->table == NULL);
	t = mrn_filter_larger(f);
	CHECK(t != NULL);
	mrn_filter_replace(f, t);
	mrn_filter_add(f, mrn_pages_of(PAGE_BYTES, PAGE_BYTES * 2), false);
}

static void first_entry_while_looking(unsigned int page)
{
	struct sigaction sa = {.sa_sigaction = add_first, .sa_flags = SA_SIGINFO}, old;
	size_t size = mrn_page_size();

	first_look.pages =
		mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(first_look.pages != MAP_FAILED);
	first_look.filter =
		(struct mrn_filter *)(void *)(first_look.pages + size -
					      offsetof(struct mrn_filter, levels) / 8 * 8);
	CHECK_EQ(sigaction(SIGSEGV, &sa, &old), 0);
	CHECK_EQ(mprotect(first_look.pages + page * size, size, PROT_NONE), 0);
	/* It came after the look began: seen or not. */
	mrn_filter_may_overlap(first_look.filter, PAGE_BYTES, PAGE_BYTES * 2);
	CHECK_EQ(sigaction(SIGSEGV, &old, NULL), 0);
	CHECK(first_look.filter->table != NULL);
	CHECK(mrn_filter_may_overlap(first_look.filter, PAGE_BYTES, PAGE_BYTES * 2));
	mrn_filter_table_free(first_look.filter->table);
	munmap(first_look.pages, 2 * size);
}

TEST(filter_first_entry_comes_in_the_middle_of_a_look)
{
	first_entry_while_looking(0);
	first_entry_while_looking(1);
}

/* What a child may find that is forked between a look's loads of the levels and of the table. */
TEST(filter_without_a_table)
{
	struct mrn_filter f = {.levels = 1};

	CHECK(!mrn_filter_may_overlap(&f, PAGE_BYTES, 2 * PAGE_BYTES));
	f.levels = UINT32_C(1) << 31;
	CHECK(!mrn_filter_may_overlap(&f, PAGE_BYTES, 2 * PAGE_BYTES));
}
