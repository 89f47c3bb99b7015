/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Entries that somebody else takes away: advice of the program's, and what others do to a page while its mapping is
 * rebound and not watched. What was written must not depend on an entry's being there still.
 */
#include "hmm/check.h"
#include "tests/hmm/fixture.h"

/* ------------------------------------------------------------------------ a write at each point of a rebind */

enum way { FILL, READ_IN, COMPACT, WAYS };
enum { UNWATCHED, WATCHED, POINTS };

static const int advice[] = {-1, MADV_DONTNEED, MADV_PAGEOUT, MADV_COLD};

enum { ADVICE = sizeof(advice) / sizeof(advice[0]) };

static char *rebound;
static int point, advised;
static uint64_t was;
static uint32_t writes;

static void write_word(void)
{
	*(volatile uint64_t *)(rebound + 8) = 12345;
	if (advised >= 0)
		CHECK_EQ(madvise(rebound, PAGE(1), advised), 0);
	ADD(&writes, 1);
}

static void when_unwatched(uintptr_t addr)
{
	if (addr != (uintptr_t)rebound)
		return;
	/* The same again: an entry that allows writes comes up, and nothing has changed. */
	if (point == UNWATCHED)
		write_word();
	else
		*(volatile uint64_t *)(rebound + 8) = was;
}

static void when_watched(uintptr_t addr)
{
	if (addr == (uintptr_t)rebound && point == WATCHED)
		write_word();
}

/* The page at p is rebound, in this way, and nothing but that. */
static void rebind(struct hmm_rig *rig, char *p, enum way way)
{
	rebound = p;
	mrn_check_hmm_rebind_hook = when_unwatched;
	mrn_check_hmm_watched_hook = when_watched;
	if (way == COMPACT)
		CHECK_EQ(mrn_hmm_compact(rig->hmm, p, PAGE(1)), 1);
	else
		CHECK_EQ(try_read(p), 0);
	settle(rig, p, 1);
	mrn_check_hmm_rebind_hook = NULL;
	mrn_check_hmm_watched_hook = NULL;
}

static void write_in_between(struct hmm_rig *rig, enum way way)
{
	char *p = region(rig, 1, RW), *other;
	uint8_t dirty;

	if (way != FILL) {
		fill_pages(p, 1, 1);
		CHECK_EQ(mrn_hmm_writeback(rig->hmm, p, PAGE(1)), 1);
	}
	was = way == FILL ? 0 : word_of(0, 1, 1);
	if (way == READ_IN)
		CHECK_EQ(mrn_hmm_reclaim(rig->hmm, p, PAGE(1)), 1);
	CHECK_ERR(mrn_hmm_clear_soft_dirty(rig->hmm, p, PAGE(1)), 0);
	/* The frame that the mapping looks at is somebody else's. */
	other = region(rig, 14, RW);
	fill_pages(other, 14, 2);
	for (int i = 0; way != COMPACT && i < 2; i++)
		CHECK_EQ(mrn_hmm_compact(rig->hmm, other, PAGE(14)), 14);
	writes = 0;
	rebind(rig, p, way);
	CHECK_MSG(writes == 1, "the page came in where it was");
	CHECK_EQ(word_at(p + 8), 12345);
	CHECK(page_at(rig, p).flags & PAGE_DIRTY);
	CHECK_ERR(mrn_hmm_soft_dirty(rig->hmm, p, PAGE(1), &dirty), 0);
	CHECK_EQ(dirty, 1);
	CHECK_EQ(mrn_hmm_reclaim(rig->hmm, p, PAGE(1)), 1);
	CHECK_EQ(word_at(p + 8), 12345);
	CHECK_EQ(word_at(p), way == FILL ? 0 : word_of(0, 0, 1));
	free_region(rig, other);
	free_region(rig, p);
}

TEST(write_in_the_moment_of_a_rebind_is_kept)
{
	HMM_RIG(rig, .frames = 16);

	for (int way = 0; way < WAYS; way++)
		for (point = 0; point < POINTS; point++)
			for (int i = 0; i < ADVICE; i++) {
				advised = advice[i];
				write_in_between(&rig, way);
			}
	hmm_rig_exit(&rig);
}
TWIN(write_in_the_moment_of_a_rebind_is_kept, it_is_not_looked_for, BREAK(HMM_TOUCHED));

/* And what came up in that moment does not allow writes afterwards. */
TEST(write_after_a_rebind_is_seen)
{
	HMM_RIG(rig, .frames = 16);
	char *p = region(&rig, 1, RW);
	uint8_t dirty;

	if (!rig.hmm->read_only_maps)
		SKIP("this kernel cannot tell reads from writes");
	fill_pages(p, 1, 1);
	CHECK_EQ(mrn_hmm_writeback(rig.hmm, p, PAGE(1)), 1);
	CHECK_ERR(mrn_hmm_clear_soft_dirty(rig.hmm, p, PAGE(1)), 0);
	was = word_of(0, 1, 1);
	point = POINTS;
	rebind(&rig, p, COMPACT);
	/* Nothing has been written that was not there. */
	CHECK(!(page_at(&rig, p).flags & (PAGE_DIRTY | PAGE_SOFT_DIRTY)));
	CHECK_EQ(try_write(p + 8, 77), 0);
	CHECK_ERR(mrn_hmm_soft_dirty(rig.hmm, p, PAGE(1), &dirty), 0);
	CHECK_EQ(dirty, 1);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(1)), 1);
	CHECK_EQ(word_at(p + 8), 77);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}
TWIN(write_after_a_rebind_is_seen, what_came_up_stays, BREAK(HMM_REBIND_ZAP));

/* ------------------------------------------------------------------- a rebind that does not come to its end */

static bool is_mapped(char *p)
{
	unsigned char resident;

	return mincore(p, PAGE(1), &resident) == 0;
}

static void munmap_next(void *arg)
{
	CHECK_EQ(munmap(rebound + PAGE(1), PAGE(1)), 0);
}

static struct test_thread stranger;

/* The first page shows its frame already, and the second is gone before it can. */
static void write_and_unmap_next(uintptr_t addr)
{
	if (addr != (uintptr_t)rebound)
		return;
	*(volatile uint64_t *)(rebound + 8) = 12345;
	ADD(&writes, 1);
	/* It waits until its event is read, and that is after the rebind. */
	test_thread(&stranger, munmap_next, NULL);
	while (is_mapped(rebound + PAGE(1)))
		test_sleep_ms(1);
}

TEST(write_to_a_part_that_was_rebound_is_kept)
{
	HMM_RIG(rig, .frames = 64);
	char *other = region(&rig, 62, RW), *p = region(&rig, 2, RW);
	uint64_t frames[2];

	/* Mappings of their own, so that they cannot be rebound in one step; from frames that others have. */
	CHECK_EQ(madvise(p, PAGE(1), MADV_DONTDUMP), 0);
	fill_pages(other, 62, 1);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(mrn_hmm_compact(rig.hmm, other, PAGE(2)), 2);
	rebound = p;
	mrn_check_hmm_rebind_hook = write_and_unmap_next;
	CHECK_ERR(mrn_hmm_pin(rig.hmm, p, PAGE(2), false, frames), -EFAULT);
	mrn_check_hmm_rebind_hook = NULL;
	CHECK_MSG(writes == 1, "the pages were not rebound");
	test_join(&stranger);
	CHECK_EQ(word_at(p + 8), 12345);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(1)), 1);
	CHECK_EQ(word_at(p + 8), 12345);
	free_region(&rig, other);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

static struct test_gate lost;

static void note_lost(struct hmm_rig *rig, const struct hmm_event *e)
{
	if (e->is_end && e->event == MMU_NOTIFY_UNMAP && (e->flags & MRN_RANGE_AFTER) &&
	    e->start == (uintptr_t)rebound && e->end == (uintptr_t)rebound + PAGE(1))
		test_gate_open(&lost);
}

static void unmap_it(uintptr_t addr)
{
	if (addr == (uintptr_t)rebound)
		CHECK_EQ(munmap(rebound, PAGE(1)), 0);
}

/* The kernel has nobody to tell that it is gone: the rebind finds out. */
TEST(munmap_in_the_moment_of_a_rebind_is_told)
{
	HMM_RIG(rig, .frames = 16);
	char *p = region(&rig, 3, RW);

	fill_pages(p, 3, 1);
	rebound = p + PAGE(1);
	rig.log.hook = note_lost;
	mrn_check_hmm_rebind_hook = unmap_it;
	CHECK_EQ(mrn_hmm_compact(rig.hmm, p, PAGE(3)), 3);
	mrn_check_hmm_rebind_hook = NULL;
	test_gate_wait(&lost);
	settle(&rig, p, 3);
	rig.log.hook = NULL;
	CHECK_ERR(mrn_hmm_map(rig.hmm, rebound, PAGE(1), RW), -ENOTCONN);
	check_page(p, 0, 1);
	check_page(p + PAGE(2), 2, 1);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

/* ------------------------------------------------------------------------------ entries that do not go away */

/* Memory that is locked keeps its entries at MADV_DONTNEED. */
TEST(locked_pages_are_emptied)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 1, RW);
	unsigned long pfn;

	fill_pages(p, 1, 1);
	if (mlock(p, PAGE(1)) != 0)
		SKIP("RLIMIT_MEMLOCK");
	CHECK_EQ(mrn_hmm_make_exclusive(rig.hmm, p, PAGE(1), &rig, &pfn), 1);
	forget_events(&rig);
	/* So the touch takes it back. */
	CHECK_EQ(try_write(p, 5), 0);
	expect(&rig, MMU_NOTIFY_EXCLUSIVE, p, 1, NULL);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(1)), 1);
	CHECK_EQ(word_at(p), 5);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

static void munmap_rebound(void *arg)
{
	CHECK_EQ(munmap(rebound, PAGE(1)), 0);
}

/* Found to be ours, and gone before it is emptied; the event cannot be read yet. */
static void unmap_before_zap(uintptr_t addr)
{
	if (addr != (uintptr_t)rebound || !is_mapped(rebound))
		return;
	test_thread(&stranger, munmap_rebound, NULL);
	while (is_mapped(rebound))
		test_sleep_ms(1);
}

TEST(hole_of_a_stranger_keeps_no_entry_behind_it)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 3, RW);
	uint8_t dirty[3];

	/* Two runs: what happens to the first must not end it all. */
	fill_pages(p, 3, 1);
	CHECK_ERR(mrn_hmm_unmap(rig.hmm, p + PAGE(1), PAGE(1)), 0);
	rebound = p;
	mrn_check_hmm_cpu_hook = unmap_before_zap;
	CHECK_ERR(mrn_hmm_clear_soft_dirty(rig.hmm, p, PAGE(3)), 0);
	mrn_check_hmm_cpu_hook = NULL;
	test_join(&stranger);
	CHECK_EQ(try_write(p + PAGE(2), 1), 0);
	CHECK_ERR(mrn_hmm_soft_dirty(rig.hmm, p, PAGE(3), dirty), 0);
	CHECK_EQ(dirty[2], 1);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

/* ------------------------------------------------------------------------------------------ all at once */

static uint32_t storm_ends;
static uint64_t moves;

static void move_main(void *arg)
{
	struct hmm_rig *rig = arg;

	for (; !LOAD(&storm_ends); moves++) {
		mrn_hmm_writeback(rig->hmm, rebound, PAGE(1));
		mrn_hmm_compact(rig->hmm, rebound, PAGE(1));
		mrn_hmm_reclaim(rig->hmm, rebound, PAGE(1));
	}
}

static uint64_t count;

/* In the moment of a rebind, until a write has come; not for long, since the writer may be waiting for the page. */
static void linger(uintptr_t addr)
{
	uint64_t seen = LOAD(&count), end = test_now_ns() + 200000;

	(void)addr;
	while (LOAD(&count) < seen + 2 && test_now_ns() < end)
		sched_yield();
}

/* A counter, moved about, while its entry is taken away. */
TEST(no_write_is_lost_among_advice, .timeout_s = 60)
{
	HMM_RIG(rig, .frames = 16);
	char *p = region(&rig, 1, RW);
	struct test_thread mover;
	uint64_t begin = test_now_ns(), misses = 0;

	rebound = p;
	mrn_check_hmm_rebind_hook = linger;
	mrn_check_hmm_watched_hook = linger;
	test_thread(&mover, move_main, &rig);
	while (test_round_is_due(test_now_ns() - begin, UINT64_C(1500000000)) && !misses) {
		seen_by_tsan();
		*(volatile uint64_t *)p = ADD(&count, 1);
		madvise(p, PAGE(1), count & 3 ? MADV_DONTNEED : MADV_PAGEOUT);
		misses += *(volatile uint64_t *)p != count;
	}
	STORE(&storm_ends, 1);
	test_join(&mover);
	NOTE("%ju moves, %ju writes, %ju lost", (uintmax_t)moves, (uintmax_t)count,
	     (uintmax_t)misses);
	CHECK_EQ(misses, 0);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}
TWIN(no_write_is_lost_among_advice, it_is_not_looked_for, UNTIL_CAUGHT(BREAK(HMM_TOUCHED)));
