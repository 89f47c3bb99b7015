/* SPDX-License-Identifier: BSD-3-Clause */
/* MRN_REGCACHE_MERGE: a miss that overlaps entries registers one range in their place. */
#include "regcache/check.h"
#include "tests/harness/break.h"
#include "tests/regcache/fixture.h"

/* One entry is left, and it is [from, to) with this access. */
static void check_only(struct rig *rig, uintptr_t from, uintptr_t to, unsigned int access)
{
	const struct stub_reg *r = rig->dev.regs;

	CHECK_ERR(mrn_regcache_reap(rig->cache), 0);
	CHECK_EQ(rig->dev.live, 1);
	CHECK_EQ(r->entry.addr, PAGE(from));
	CHECK_EQ(r->entry.length, PAGE(to) - PAGE(from));
	CHECK_EQ(r->entry.access, access);
	check_stats(rig->cache, &rig->dev);
}

struct merge {
	uintptr_t old[2][2], ask[2], hull[2];
};

static const struct merge merges[] = {
	/* left, right, contained, containing */
	{{{20, 24}, {0, 0}}, {18, 22}, {18, 24}},
	{{{20, 24}, {0, 0}}, {22, 26}, {20, 26}},
	{{{20, 24}, {0, 0}}, {18, 26}, {18, 26}},
	/* bridging two, touching each by a page, or covering one of them */
	{{{20, 24}, {26, 30}}, {23, 27}, {20, 30}},
	{{{20, 24}, {26, 30}}, {19, 27}, {19, 30}},
	/* overlap of overlap: the first is reached through the second only */
	{{{20, 24}, {23, 30}}, {28, 32}, {20, 32}},
};

TEST(ucx_rcache_merge)
{
	for (unsigned int i = 0; i < sizeof(merges) / sizeof(merges[0]); i++) {
		const struct merge *m = &merges[i];
		RIG(rig, .max_entries = 8, .flags = MRN_REGCACHE_MERGE);
		uint64_t serial;

		touch(&rig, m->old[0][0], m->old[0][1], RD);
		if (m->old[1][0])
			touch(&rig, m->old[1][0], m->old[1][1], RD);
		serial = touch(&rig, m->ask[0], m->ask[1], RD);
		check_only(&rig, m->hull[0], m->hull[1], RD);
		CHECK_EQ(touch(&rig, m->hull[0], m->hull[1], RD), serial);
		CHECK_EQ(touch(&rig, m->old[0][0], m->old[0][1], RD), serial);
		CHECK_EQ(stats_of(rig.cache).invalidations, 0);
		rig_exit(&rig);
	}
}

TEST(merge_not_wanted)
{
	RIG(rig, .max_entries = 8);

	touch(&rig, 20, 24, RD);
	touch(&rig, 22, 26, RD);
	touch(&rig, 18, 21, WR);
	CHECK_EQ(rig.dev.live, 3);
	CHECK_EQ(rig.dev.bytes, PAGE(4 + 4 + 3));
	rig_exit(&rig);
}

/* What only touches is left alone. */
TEST(merge_neighbours)
{
	RIG(rig, .max_entries = 8, .flags = MRN_REGCACHE_MERGE);

	touch(&rig, 20, 24, RD);
	touch(&rig, 24, 26, RD);
	touch(&rig, 18, 20, RD);
	CHECK_EQ(rig.dev.live, 3);
	rig_exit(&rig);
}

TEST(ucx_rcache_merge_access)
{
	RIG(rig, .max_entries = 8, .flags = MRN_REGCACHE_MERGE);

	touch(&rig, 20, 24, RD);
	touch(&rig, 22, 26, WR);
	check_only(&rig, 20, 26, RD | WR);
	/* An upgrade of the same range is a merge, too. */
	touch(&rig, 40, 44, RD);
	touch(&rig, 40, 44, WR);
	CHECK_EQ(rig.dev.live, 2);
	CHECK_EQ(touch(&rig, 40, 44, RD | WR), 4);
	rig_exit(&rig);
}

TEST(ucx_rcache_merge_in_use)
{
	RIG(rig, .max_entries = 8, .flags = MRN_REGCACHE_MERGE);
	const struct mrn_regcache_entry *old = get(&rig, 20, 24, RD), *merged;

	merged = get(&rig, 22, 26, RD);
	CHECK_EQ(merged->addr, PAGE(20));
	/* The old one goes on for those who have it; whoever asks now gets the new one. */
	CHECK_EQ(rig.dev.live, 2);
	CHECK_EQ(touch(&rig, 20, 24, RD), stub_reg(merged)->serial);
	invalidate(&rig, 21, 22);
	CHECK_EQ(rig.dev.live, 2);
	put(&rig, old);
	CHECK_EQ(rig.dev.live, 1);
	put(&rig, merged);
	CHECK_EQ(rig.dev.live, 0);
	CHECK_EQ(stats_of(rig.cache).invalidations, 1);
	rig_exit(&rig);
}

/* The hull cannot be had: what was asked for is. And the old one is not lost for it. */
TEST(ucx_rcache_merge_falls_back)
{
	RIG(rig, .max_entries = 8, .flags = MRN_REGCACHE_MERGE);
	const struct mrn_regcache_entry *e;

	touch(&rig, 20, 24, RD);
	rig.dev.fail_above = 4 * mrn_page_size();
	e = get(&rig, 22, 26, RD);
	CHECK_EQ(e->addr, PAGE(22));
	CHECK_EQ(e->length, PAGE(4));
	put(&rig, e);
	CHECK(registered(&rig, 20, 24));
	CHECK_EQ(rig.dev.live, 2);
	CHECK_EQ(stats_of(rig.cache).failures, 0);
	/* Neither can be had: one failure, and all as before. */
	CHECK_ERR(try_get(&rig, 22, 30, RD, &e), -EINVAL);
	CHECK_EQ(stats_of(rig.cache).failures, 1);
	CHECK_EQ(rig.dev.live, 2);
	rig_exit(&rig);
}

TEST(merge_over_the_limit)
{
	RIG(rig, .max_entries = 8, .max_bytes = 5 * mrn_page_size(), .flags = MRN_REGCACHE_MERGE);
	const struct mrn_regcache_entry *e;

	touch(&rig, 20, 24, RD);
	e = get(&rig, 22, 26, RD);
	CHECK_EQ(e->length, PAGE(4));
	put(&rig, e);
	rig_exit(&rig);
}

/* Dead entries are no part of it: their memory is gone. */
TEST(merge_leaves_out_the_dead)
{
	RIG(rig, .max_entries = 8, .flags = MRN_REGCACHE_MERGE);
	const struct mrn_regcache_entry *old = get(&rig, 20, 24, RD), *e;

	invalidate(&rig, 20, 21);
	e = get(&rig, 22, 26, RD);
	CHECK_EQ(e->addr, PAGE(22));
	CHECK_EQ(e->length, PAGE(4));
	put(&rig, e);
	put(&rig, old);
	rig_exit(&rig);
}

/* A merged entry dies by any of its pages. */
TEST(merged_entry_is_watched)
{
	RIG(rig, .max_entries = 8, .flags = MRN_REGCACHE_MERGE);

	for (uintptr_t page = 20; page < 26; page++) {
		CHECK_ERR(mrn_regcache_flush(rig.cache), 0);
		touch(&rig, 20, 24, RD);
		touch(&rig, 22, 26, RD);
		check_only(&rig, 20, 26, RD);
		invalidate(&rig, page, page + 1);
		CHECK_ERR(mrn_regcache_reap(rig.cache), 0);
		CHECK_EQ(rig.dev.live, 0);
	}
	rig_exit(&rig);
}

/* ------------------------------------------------------- an invalidation of what was merged, meanwhile */

static struct test_gate inserted, started, go_on;
static bool has_waited;

static void let_it_start(void)
{
	if (test_gate_is_open(&inserted))
		return;
	test_gate_open(&inserted);
	test_gate_wait(&started);
}

static void note_that_it_waits(uint64_t token_seq)
{
	(void)token_seq;
	has_waited = true;
	test_gate_open(&go_on);
}

static void invalidate_the_neighbour(void *mm)
{
	struct mmu_notifier_range r = pages(mm, 22, 23);

	test_gate_wait(&inserted);
	start(&r);
	test_gate_open(&started);
	test_gate_wait(&go_on);
	end(&r);
}

/*
 * A get waits for invalidations of its own range only: the caller may be inside one that the thread which invalidates the
 * neighbour waits for.
 */
TEST(merge_does_not_wait_for_neighbours)
{
	RIG(rig, .max_entries = 8, .flags = MRN_REGCACHE_MERGE);
	struct test_thread other;

	touch(&rig, 20, 23, RD);
	mrn_check_inserted_hook = let_it_start;
	mrn_check_wait_hook = note_that_it_waits;
	test_thread(&other, invalidate_the_neighbour, rig.mm);
	touch(&rig, 20, 21, WR);
	CHECK(!has_waited);
	test_gate_open(&go_on);
	test_join(&other);
	rig_exit(&rig);
}
TWIN(merge_does_not_wait_for_neighbours, it_does, BREAK(CACHE_MERGE_WAITS));
