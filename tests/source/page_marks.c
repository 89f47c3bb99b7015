/* SPDX-License-Identifier: BSD-3-Clause */
/* The marks of source/marks.h beside an array with a byte a page, at the edges of granules, leaves and branches. */
#include "os/pages.h"
#include "source/marks.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"

/* Pages: as in source/marks.c. */
#define LEAF   (UINT64_C(1) << 15)
#define BRANCH (LEAF << 11)

/* The end of a branch is in the middle. */
enum { PAGES = 3 * (1 << 15), STEPS = 4000 };
#define FIRST (5 * BRANCH - PAGES / 2)

static struct mrn_marks marks;
static unsigned char expected[PAGES]; /* a bit a mark */

static uintptr_t address(uint64_t page)
{
	return (FIRST + page) * mrn_page_size();
}

/* Short ranges, and some that span leaves; the ends are often at an edge. */
static void draw(struct test_rand *seed, uint64_t *from, uint64_t *to)
{
	uint64_t longest = test_rand_below(seed, 4) ? 300 : PAGES;

	*from = test_rand_below(seed, PAGES);
	if (!test_rand_below(seed, 4))
		*from &= ~UINT64_C(63);
	*to = *from + 1 + test_rand_below(seed, longest);
	if (!test_rand_below(seed, 4))
		*to = (*to + 63) & ~UINT64_C(63);
	if (*to > PAGES)
		*to = PAGES;
}

static void check_looks(uint64_t from, uint64_t to, enum mrn_mark bit)
{
	uintptr_t start = address(from), run_end;
	bool all = true, any = false, found;
	uint64_t run = from, end;

	for (uint64_t i = from; i < to; i++) {
		all &= expected[i] >> bit & 1;
		any |= expected[i] >> bit & 1;
	}
	CHECK_EQ(mrn_marks_all(&marks, address(from), address(to), bit), all);
	CHECK_EQ(mrn_marks_has(&marks, address(from), address(to), bit), any);
	while (run < to && !(expected[run] >> MRN_MARK_MAYBE & 1))
		run++;
	end = run;
	while (end < to && (expected[end] >> MRN_MARK_MAYBE & 1))
		end++;
	found = mrn_marks_run(&marks, &start, address(to), &run_end);
	CHECK_EQ(found, run < to);
	if (found) {
		CHECK_EQ(start, address(run));
		CHECK_EQ(run_end, address(end));
	}
}

TEST(marks_are_what_was_set)
{
	struct test_rand seed;
	uint64_t from, to;

	test_rand_init(&seed, 1);
	mrn_marks_reserve(&marks, MRN_MARKS_OF_ARMED);
	for (unsigned int i = 0; i < STEPS; i++) {
		enum mrn_mark bit = (enum mrn_mark)test_rand_below(&seed, MRN_MARKS);
		bool set = test_rand_below(&seed, 2);

		draw(&seed, &from, &to);
		check_looks(from, to, bit);
		draw(&seed, &from, &to);
		/* Where there never was a mark, there is nothing to clear. */
		if (set) {
			CHECK(mrn_marks_make(&marks, address(from), address(to)));
			mrn_marks_set(&marks, address(from), address(to), bit);
		} else {
			mrn_marks_clear(&marks, address(from), address(to), bit);
		}
		for (uint64_t p = from; p < to; p++)
			expected[p] = (unsigned char)(set ? expected[p] | 1u << bit
							  : expected[p] & ~(1u << bit));
	}
	mrn_marks_clear_all(&marks);
	for (int bit = 0; bit < MRN_MARKS; bit++)
		CHECK(!mrn_marks_has(&marks, 0, UINTPTR_MAX, (enum mrn_mark)bit));
}

/* A leaf that was never made is a gap, not a page less to look at. */
TEST(memory_that_never_had_marks_has_none)
{
	uintptr_t at = address(0), end = at + 3 * LEAF * mrn_page_size();
	uintptr_t page = mrn_page_size();

	mrn_marks_reserve(&marks, MRN_MARKS_OF_ARMED);
	CHECK(!mrn_marks_all(&marks, at, end, MRN_MARK_SURE));
	CHECK(mrn_marks_make(&marks, at, at + page));
	CHECK(mrn_marks_make(&marks, end - page, end));
	mrn_marks_set(&marks, at, end, MRN_MARK_SURE);
	CHECK(mrn_marks_has(&marks, at, end, MRN_MARK_SURE));
	CHECK(!mrn_marks_all(&marks, at, end, MRN_MARK_SURE));
	CHECK(mrn_marks_all(&marks, at, at + page, MRN_MARK_SURE));
	CHECK(mrn_marks_all(&marks, end - page, end, MRN_MARK_SURE));
	CHECK(mrn_marks_all(&marks, at, at, MRN_MARK_SURE));
}
