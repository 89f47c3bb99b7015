/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * free, realloc and reallocarray: a block that is a mapping of its own is announced before it goes, any
 * other is not, and the results are libc's.
 */
#include <errno.h>
#include <malloc.h>
#include <mrn/mrn.h>
#include <stdlib.h>
#include <string.h>

#include "source/bracket/check.h"
#include "tests/harness/break.h"
#include "tests/harness/test.h"
#include "os/pages.h"

#define LARGE ((size_t)4 << 20)

static struct {
	unsigned int calls;
	enum mrn_cause cause;
	bool after;
	uintptr_t start, end;
	char byte;	  /* what was there when the callback ran */
	const char *look; /* where */
} told;

static bool note(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		 uint64_t cur_seq)
{
	mmu_range_notifier_update_seq(mrn, cur_seq);
	told.calls++;
	told.cause = range->cause;
	told.after = range->flags & MRN_RANGE_AFTER;
	told.start = range->start;
	told.end = range->end;
	told.byte = told.look ? *told.look : 0;
	return true;
}

static const struct mmu_range_notifier_ops ops = {.invalidate = note};

static void need_glibcs_malloc(void)
{
	if (test_is_sanitized())
		SKIP("the sanitizer's malloc is in place");
	/* Setting it stops malloc from raising it when such a block is freed. */
	CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 20));
}

static char *watched_block(struct mmu_range_notifier *mrn, size_t size)
{
	char *p = malloc(size);

	CHECK(p);
	memset(p, 'A', size);
	memset(&told, 0, sizeof(told));
	told.look = p + size / 2;
	mrn->ops = &ops;
	CHECK_ERR(mmu_range_notifier_insert(mrn, (uintptr_t)p, size, mrn_mm_self()), 0);
	return p;
}

TEST(free_of_a_large_block)
{
	struct mmu_range_notifier mrn = {0};
	uintptr_t at;
	char *p;

	need_glibcs_malloc();
	p = watched_block(&mrn, LARGE);
	at = (uintptr_t)p;
	free(p);
	CHECK_EQ(told.calls, 1);
	CHECK_EQ(told.cause, MRN_CAUSE_MUNMAP);
	CHECK(!told.after);
	CHECK_EQ(told.byte, 'A');
	/* All that is unmapped, and no more. */
	CHECK(told.start <= at && told.start + mrn_page_size() > at);
	CHECK(told.end >= at + LARGE && told.end < at + LARGE + mrn_page_size());
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
}
TWIN(free_of_a_large_block, no_bracket, BREAK(BRACKET_FREE));

TEST(free_of_a_small_block_tells_nobody)
{
	struct mmu_range_notifier mrn = {0};

	need_glibcs_malloc();
	free(watched_block(&mrn, 10000));
	CHECK_EQ(told.calls, 0);
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
}

TEST(realloc_of_a_large_block)
{
	struct mmu_range_notifier mrn = {0};
	char *p, *q;

	need_glibcs_malloc();
	p = watched_block(&mrn, LARGE);
	q = realloc(p, 4 * LARGE);
	CHECK(q);
	CHECK(told.calls >= 1);
	CHECK(!told.after);
	CHECK_EQ(told.byte, 'A');
	CHECK_EQ(q[0], 'A');
	CHECK_EQ(q[LARGE - 1], 'A');
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
	free(q);
}
TWIN(realloc_of_a_large_block, no_bracket, BREAK(BRACKET_FREE));

TEST(blocks_that_are_aligned_far_into_their_mapping)
{
	struct mmu_range_notifier mrn = {.ops = &ops};
	uintptr_t at;
	char *p;

	need_glibcs_malloc();
	p = memalign(1 << 20, LARGE);
	CHECK(p);
	memset(p, 'A', LARGE);
	memset(&told, 0, sizeof(told));
	told.look = p + LARGE - 1;
	CHECK_ERR(mmu_range_notifier_insert(&mrn, (uintptr_t)p, LARGE, mrn_mm_self()), 0);
	at = (uintptr_t)p;
	free(p);
	CHECK_EQ(told.calls, 1);
	CHECK_EQ(told.byte, 'A');
	CHECK(told.start <= at && told.end >= at + LARGE);
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
}

TEST(results_are_libcs)
{
	volatile size_t huge = SIZE_MAX / 2;
	char *p;

	need_glibcs_malloc();
	free(NULL);
	p = realloc(NULL, 100);
	CHECK(p);
	strcpy(p, "kept");
	p = reallocarray(p, 10, 100);
	CHECK(p && strcmp(p, "kept") == 0);
	errno = 0;
	CHECK(!reallocarray(p, huge, 4));
	CHECK_EQ(errno, ENOMEM);
	errno = 0;
	CHECK(!realloc(p, huge));
	CHECK_EQ(errno, ENOMEM);
	CHECK(strcmp(p, "kept") == 0);
	errno = 1234;
	free(p);
	free(malloc(LARGE));
	CHECK_EQ(errno, 1234);
	/* glibc frees, and returns NULL. */
	p = malloc(LARGE);
	CHECK(!realloc(p, 0));
	/* A large block shrinks and grows with its contents. */
	p = malloc(LARGE);
	memset(p, 'B', LARGE);
	p = realloc(p, 2 * LARGE);
	CHECK(p && p[LARGE - 1] == 'B');
	p = realloc(p, 100);
	CHECK(p && p[99] == 'B');
	free(p);
}
