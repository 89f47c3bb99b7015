/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions of managed memory: made, unmapped and mapped again, moved, protected, freed. */
#include "tests/hmm/changes.h"

/* ----------------------------------------------------------------------------------- alloc and free */

TEST(alloc_gives_zeros_and_keeps_what_is_written)
{
	HMM_RIG(rig, .frames = 256);
	char *p = region(&rig, 40, RW), *q = region(&rig, 3, RD);
	uint64_t frames[40];

	check_zeros(p, 40);
	check_zeros(q, 3);
	fill_pages(p, 40, 1);
	check_pages(p, 40, 1);
	CHECK_EQ(stats_of(&rig).frames_used, 43);
	/* The frames are the same memory. */
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p, PAGE(40), true, frames), 40);
	for (size_t i = 0; i < 40; i++) {
		check_page(mrn_hmm_frame(rig.hmm, frames[i]), i, 1);
		*(uint64_t *)mrn_hmm_frame(rig.hmm, frames[i]) = i;
		CHECK_EQ(*(volatile uint64_t *)(p + PAGE(i)), i);
	}
	mrn_hmm_unpin(rig.hmm, frames, 40, false);
	/* A first translation is no change. */
	expect_none(&rig);
	free_region(&rig, p);
	expect(&rig, MMU_NOTIFY_UNMAP, p, 40, NULL);
	CHECK_EQ(stats_of(&rig).frames_used, 3);
	check_zeros(q, 3);
	free_region(&rig, q);
	hmm_rig_exit(&rig);
}

TEST(frames_that_come_back_are_zeros_again)
{
	HMM_RIG(rig, .frames = 64);

	for (int i = 0; i < ROUNDS(20); i++) {
		char *p = region(&rig, 50, RW);

		check_zeros(p, 50);
		fill_pages(p, 50, 1);
		free_region(&rig, p);
	}
	hmm_rig_exit(&rig);
}

TEST(alloc_of_an_order_comes_in_blocks)
{
	HMM_RIG(rig, .frames = 4096);

	for (unsigned int order = 0; order <= 9; order++) {
		/* Three blocks, and a bit of a fourth. */
		size_t block = (size_t)1 << order, n = 3 * block + block / 2;
		void *at = NULL;
		char *p;

		CHECK_ERR(mrn_hmm_alloc(rig.hmm, PAGE(n), RW, order, &at), 0);
		CHECK_EQ((uintptr_t)at % PAGE(block), 0);
		p = at;
		CHECK_EQ(try_write(p + PAGE(block + block / 2), 7), 0);
		CHECK_EQ(stats_of(&rig).frames_used, block);
		CHECK_EQ(try_read(p), 0);
		CHECK_EQ(stats_of(&rig).frames_used, 2 * block);
		CHECK_EQ(page_at(&rig, p).home % block, 0);
		for (size_t i = 0; i < block; i++)
			CHECK_EQ(page_at(&rig, p + PAGE(i)).home, page_at(&rig, p).home + i);
		/* The rest comes by the page. */
		if (order) {
			CHECK_EQ(try_read(p + PAGE(3 * block)), 0);
			CHECK_EQ(stats_of(&rig).frames_used, 2 * block + 1);
		}
		CHECK_EQ(*(volatile uint64_t *)(p + PAGE(block + block / 2)), 7);
		free_region(&rig, p);
	}
	hmm_rig_exit(&rig);
}

/* Without a block to be had, page by page, down to the last frame. */
TEST(alloc_of_an_order_does_without_blocks)
{
	HMM_RIG(rig, .frames = 64);
	char *small = region(&rig, 64, RW);
	void *at = NULL;

	fill_pages(small, 64, 1);
	for (size_t i = 0; i < 64; i += 2)
		CHECK_ERR(mrn_hmm_discard(rig.hmm, small + PAGE(i), PAGE(1)), 0);
	CHECK_ERR(mrn_hmm_alloc(rig.hmm, PAGE(32), RW, 4, &at), 0);
	fill_pages(at, 32, 2);
	check_pages(at, 32, 2);
	for (size_t i = 1; i < 64; i += 2)
		check_page(small + PAGE(i), i, 1);
	free_region(&rig, at);
	free_region(&rig, small);
	hmm_rig_exit(&rig);
}

/* ---------------------------------------------------------------------------------- unmap and map */

TEST(unmap_makes_a_hole_and_map_fills_it)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 10, RW);

	catch_signals();
	fill_pages(p, 10, 1);
	CHECK_ERR(mrn_hmm_unmap(rig.hmm, p + PAGE(3), PAGE(4)), 0);
	CHECK_EQ(stats_of(&rig).frames_used, 6);
	for (size_t i = 0; i < 10; i++) {
		bool hole = i >= 3 && i < 7;

		CHECK_EQ(try_read(p + PAGE(i)), hole ? SIGSEGV : 0);
		CHECK_EQ(try_write(p + PAGE(i), word_of(i, 0, 1)), hole ? SIGSEGV : 0);
		if (hole)
			CHECK(hmm_signal.addr == p + PAGE(i));
		else
			check_page(p + PAGE(i), i, 1);
	}
	/* Holes can be unmapped, discarded, reclaimed: nothing is there. */
	CHECK_ERR(mrn_hmm_unmap(rig.hmm, p + PAGE(2), PAGE(2)), 0);
	CHECK_ERR(mrn_hmm_discard(rig.hmm, p + PAGE(2), PAGE(5)), 0);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p + PAGE(2), PAGE(5)), 0);
	CHECK_EQ(try_read(p + PAGE(4)), SIGSEGV);
	/* Not over what is there, not even in part. */
	forget_events(&rig);
	CHECK_ERR(mrn_hmm_map(rig.hmm, p + PAGE(1), PAGE(3), RW), -EEXIST);
	CHECK_ERR(mrn_hmm_map(rig.hmm, p + PAGE(5), PAGE(3), RW), -EEXIST);
	CHECK_EQ(try_read(p + PAGE(5)), SIGSEGV);
	check_page(p + PAGE(1), 1, 1);
	CHECK_ERR(mrn_hmm_map(rig.hmm, p + PAGE(2), PAGE(2), RW), 0);
	CHECK_ERR(mrn_hmm_map(rig.hmm, p + PAGE(4), PAGE(1), RD), 0);
	CHECK_ERR(mrn_hmm_map(rig.hmm, p + PAGE(5), PAGE(1), PROT_NONE), 0);
	/* Who can have a translation of a hole? */
	expect_none(&rig);
	check_zeros(p + PAGE(2), 3);
	fill_pages(p + PAGE(2), 2, 3);
	check_pages(p + PAGE(2), 2, 3);
	CHECK_EQ(try_write(p + PAGE(4), 1), SIGSEGV);
	CHECK_EQ(try_read(p + PAGE(5)), SIGSEGV);
	CHECK_EQ(try_read(p + PAGE(6)), SIGSEGV);
	check_page(p + PAGE(7), 7, 1);
	free_region(&rig, p);
	CHECK_EQ(try_read(p), SIGSEGV);
	hmm_rig_exit(&rig);
}

/* -------------------------------------------------------------------------------------------- move */

static struct mrn_hmm_page was;

/* Both ranges are announced, the destination first, and both are over when it returns. */
static void expect_move(struct hmm_rig *rig, char *from, char *to, size_t n)
{
	CHECK_EQ(events(rig), 4);
	expect_event(rig, 0, false, MMU_NOTIFY_UNMAP, to, n, NULL);
	expect_event(rig, 1, false, MMU_NOTIFY_UNMAP, from, n, NULL);
	expect_event(rig, 2, true, MMU_NOTIFY_UNMAP, from, n, NULL);
	expect_event(rig, 3, true, MMU_NOTIFY_UNMAP, to, n, NULL);
	CHECK_EQ(rig->log.event[0].cause, MRN_CAUSE_MREMAP_DST);
	CHECK_EQ(rig->log.event[1].cause, MRN_CAUSE_MREMAP_SRC);
	forget_events(rig);
}

static void look_inside_move(struct hmm_rig *rig, const struct hmm_event *e)
{
	struct mrn_hmm_page from = page_at(rig, change_at), to = page_at(rig, change_at + PAGE(8));

	CHECK_EQ(from.state, e->is_end ? PAGE_HOLE : PAGE_RAM);
	CHECK_EQ(to.state, PAGE_RAM);
	CHECK_EQ(to.home == was.home, e->is_end);
	CHECK_EQ(has_entry(change_at), !e->is_end);
	CHECK_EQ(has_entry(change_at + PAGE(8)), !e->is_end);
}

TEST(move_takes_pages_along_and_leaves_a_hole)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 16, RW);

	catch_signals();
	fill_pages(p, 16, 1);
	change_at = p;
	settle(&rig, p, 16);
	was = page_at(&rig, p);
	rig.log.hook = look_inside_move;
	CHECK_ERR(mrn_hmm_move(rig.hmm, p, p + PAGE(8), PAGE(4)), 0);
	rig.log.hook = NULL;
	expect_move(&rig, p, p + PAGE(8), 4);
	CHECK_EQ(stats_of(&rig).frames_used, 12);
	for (size_t i = 0; i < 4; i++) {
		check_page(p + PAGE(8 + i), i, 1);
		CHECK_EQ(try_read(p + PAGE(i)), SIGSEGV);
	}
	for (size_t i = 4; i < 16; i++)
		if (i < 8 || i >= 12)
			check_page(p + PAGE(i), i, 1);
	/* Back into the hole. */
	CHECK_ERR(mrn_hmm_move(rig.hmm, p + PAGE(8), p, PAGE(4)), 0);
	expect_move(&rig, p + PAGE(8), p, 4);
	check_pages(p, 8, 1);
	CHECK_EQ(try_read(p + PAGE(8)), SIGSEGV);
	/* What is a hole cannot be moved, nor can what is one in part; nothing has changed. */
	CHECK_ERR(mrn_hmm_move(rig.hmm, p + PAGE(6), p + PAGE(12), PAGE(4)), -EFAULT);
	check_pages(p, 8, 1);
	check_page(p + PAGE(12), 12, 1);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}
TWIN(move_takes_pages_along_and_leaves_a_hole, no_start, BREAK(HMM_NO_START));

/* Between regions, and whatever state and protection a page has. */
TEST(move_takes_pages_in_every_state_along)
{
	HMM_RIG(rig, .frames = 128);
	char *p = region(&rig, 8, RW), *q = region(&rig, 12, RW);
	uint64_t frame;

	catch_signals();
	device_init(&device, &rig, 16);
	for (int i = 0; i < 2; i++) {
		char *from = i ? q + PAGE(2) : p, *to = i ? p : q + PAGE(2);

		if (i == 0)
			fill_pages(p, 8, 1);
		/* 1 none, 2 in the file, 3 on the device, 4 read-only, 5 not to be read, 6 pinned, 7 lent. */
		CHECK_ERR(mrn_hmm_discard(rig.hmm, from + PAGE(1), PAGE(1)), 0);
		CHECK_EQ(mrn_hmm_reclaim(rig.hmm, from + PAGE(2), PAGE(1)), 1);
		CHECK_EQ(run_to_device(&rig, from + PAGE(3), 1), 1);
		CHECK_ERR(mrn_hmm_protect(rig.hmm, from + PAGE(4), PAGE(1), RD), 0);
		CHECK_ERR(mrn_hmm_protect(rig.hmm, from + PAGE(5), PAGE(1), PROT_NONE), 0);
		CHECK_EQ(mrn_hmm_pin(rig.hmm, from + PAGE(6), PAGE(1), true, &frame), 1);
		CHECK_EQ(run_exclusive(&rig, from + PAGE(7), 1), 1);
		fill_pages(q, i ? 0 : 2, 2);
		forget_events(&rig);
		CHECK_ERR(mrn_hmm_move(rig.hmm, from, to, PAGE(8)), 0);
		expect_move(&rig, from, to, 8);
		for (size_t k = 0; k < 8; k++) {
			CHECK_EQ(try_read(from + PAGE(k)), SIGSEGV);
			if (k != 1 && k != 5)
				check_page(to + PAGE(k), k, 1);
		}
		CHECK_EQ(try_read(to + PAGE(1)), 0);
		CHECK_EQ(*(volatile uint64_t *)(to + PAGE(1)), 0);
		CHECK_EQ(try_write(to + PAGE(4), 1), SIGSEGV);
		CHECK_EQ(try_read(to + PAGE(5)), SIGSEGV);
		CHECK_ERR(mrn_hmm_protect(rig.hmm, to + PAGE(4), PAGE(2), RW), 0);
		check_page(to + PAGE(5), 5, 1);
		check_page(mrn_hmm_frame(rig.hmm, frame), 6, 1);
		mrn_hmm_unpin(rig.hmm, &frame, 1, false);
		CHECK_EQ(device.in_use, 0);
		check_page(q, 0, 2);
		check_page(q + PAGE(1), 1, 2);
	}
	free_region(&rig, p);
	free_region(&rig, q);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

/* ------------------------------------------------------------------------------------------ protect */

TEST(protect_is_what_the_cpu_may_do)
{
	static const int prots[] = {RW, RD, PROT_NONE, RD, RW, PROT_NONE, RW};
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 6, RW);

	catch_signals();
	fill_pages(p, 6, 1);
	for (size_t i = 0; i < sizeof(prots) / sizeof(prots[0]); i++) {
		CHECK_ERR(mrn_hmm_protect(rig.hmm, p + PAGE(2), PAGE(2), prots[i]), 0);
		/* In memory, or to be brought in. */
		for (int away = 0; away < 2; away++) {
			uint64_t word = word_of(3, 0, 1);

			CHECK_EQ(try_read(p + PAGE(3)), prots[i] & RD ? 0 : SIGSEGV);
			CHECK_EQ(try_write(p + PAGE(3), word), prots[i] == RW ? 0 : SIGSEGV);
			CHECK_EQ(try_write(p + PAGE(1), word_of(1, 0, 1)), 0);
			CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(6)) >= 0, 1);
		}
	}
	check_pages(p, 6, 1);
	CHECK_ERR(mrn_hmm_unmap(rig.hmm, p + PAGE(4), PAGE(1)), 0);
	CHECK_ERR(mrn_hmm_protect(rig.hmm, p + PAGE(3), PAGE(3), RD), -ENOMEM);
	CHECK_EQ(try_write(p + PAGE(3), 1), 0);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

/* Protections of one range differ, and its pages get frames elsewhere than where the mapping looks. */
TEST(pages_of_several_protections_come_in_together)
{
	HMM_RIG(rig, .frames = 96);
	char *other = region(&rig, 64, RW), *p = region(&rig, 48, RW);
	uint64_t frames[24];

	fill_pages(other, 64, 1);
	/* The last 24 have homes that `other` has taken. */
	for (size_t i = 28; i < 44; i += 6)
		CHECK_ERR(mrn_hmm_protect(rig.hmm, p + PAGE(i), PAGE(3), RD), 0);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p + PAGE(24), PAGE(24), false, frames), 24);
	check_zeros(p + PAGE(24), 24);
	mrn_hmm_unpin(rig.hmm, frames, 24, false);
	/* And from a device. */
	device_init(&device, &rig, 64);
	CHECK_EQ(run_to_device(&rig, p + PAGE(24), 24), 24);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, other, PAGE(32)), 32);
	CHECK_EQ(run_to_ram(&rig, p + PAGE(24), 24), 24);
	check_zeros(p + PAGE(24), 24);
	check_pages(other, 32, 1);
	free_region(&rig, p);
	free_region(&rig, other);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

/* Advice of the program's, which parts mappings, is no obstacle. */
TEST(pages_with_advice_come_in_together)
{
	HMM_RIG(rig, .frames = 96);
	char *other = region(&rig, 64, RW), *p = region(&rig, 48, RW);
	uint64_t frames[24];

	fill_pages(other, 64, 1);
	for (size_t i = 0; i < 48; i += 2)
		CHECK_EQ(madvise(p + PAGE(i), PAGE(1), MADV_DONTDUMP), 0);
	for (int round = 0; round < 3; round++) {
		CHECK_EQ(mrn_hmm_pin(rig.hmm, p + PAGE(24), PAGE(24), true, frames), 24);
		fill_pages(p + PAGE(24), 24, 2);
		for (size_t i = 0; i < 24; i++)
			check_page(mrn_hmm_frame(rig.hmm, frames[i]), i, 2);
		mrn_hmm_unpin(rig.hmm, frames, 24, true);
		/* Some have been given other frames since, and some have not. */
		CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p + PAGE(30), PAGE(8)), 8);
		CHECK_EQ(mrn_hmm_compact(rig.hmm, p + PAGE(34), PAGE(10)), 6);
		CHECK_ERR(mrn_hmm_discard(rig.hmm, p + PAGE(40), PAGE(4)), 0);
		check_pages(p + PAGE(24), 16, 2);
		CHECK_ERR(mrn_hmm_discard(rig.hmm, p + PAGE(24), PAGE(24)), 0);
		CHECK_EQ(mrn_hmm_compact(rig.hmm, other, PAGE(64)), 64);
	}
	check_pages(other, 64, 1);
	free_region(&rig, p);
	free_region(&rig, other);
	hmm_rig_exit(&rig);
}
