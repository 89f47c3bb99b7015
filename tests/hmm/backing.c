/* SPDX-License-Identifier: BSD-3-Clause */
/* The backing file: reclaim, write-back, and what is dirty. */
#include "tests/hmm/changes.h"

/* ------------------------------------------------------------------------------------- backing file */

static void tamper(struct hmm_rig *rig, const void *p, uint64_t word)
{
	uint32_t slot = page_at(rig, p).slot;

	CHECK(slot);
	CHECK_EQ(pwrite(rig->backing, &word, 8, (off_t)PAGE(slot - 1)), 8);
}

TEST(reclaimed_pages_come_back)
{
	HMM_RIG(rig, .frames = 128);
	char *p = region(&rig, 100, RW);

	fill_pages(p, 100, 1);
	for (int i = 0; i < 3; i++) {
		forget_events(&rig);
		CHECK_EQ(run_reclaim(&rig, p, 100), 100);
		expect(&rig, MMU_NOTIFY_CLEAR, p, 100, NULL);
		CHECK_EQ(stats_of(&rig).frames_used, 0);
		CHECK_EQ(run_reclaim(&rig, p, 100), 0);
		forget_events(&rig);
		/* Coming back is a first translation. */
		check_pages(p, 100, 1);
		expect_none(&rig);
	}
	CHECK_EQ(stats_of(&rig).swapped_out, 300);
	CHECK_EQ(stats_of(&rig).swapped_in, 300);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

/* What nobody has written to since is not written again: what somebody else put into the file shows. */
TEST(reclaim_writes_what_is_dirty_and_nothing_else)
{
	HMM_RIG(rig, .frames = 128);
	/* `other` takes the frames that the mapping of p looks at, so that p's pages come in elsewhere. */
	char *p = region(&rig, 7, RW), *other;
	unsigned long exclusive;
	uint64_t frame;

	device_init(&device, &rig, 16);
	fill_pages(p, 7, 1);
	CHECK_EQ(run_reclaim(&rig, p, 7), 7);
	other = region(&rig, 121, RW);
	fill_pages(other, 121, 2);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, other + PAGE(100), PAGE(20)), 20);
	check_pages(p, 7, 1);
	for (size_t i = 0; i < 7; i++)
		tamper(&rig, p + PAGE(i), 4711);
	/* 0 read only, 1 written by the CPU, 2 .. 5 by devices, in as many ways; 6 only said to be. */
	CHECK_EQ(try_write(p + PAGE(1), 1), 0);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p + PAGE(2), PAGE(1), true, &frame), 1);
	*(uint64_t *)mrn_hmm_frame(rig.hmm, frame) = 2;
	mrn_hmm_unpin(rig.hmm, &frame, 1, false);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p + PAGE(3), PAGE(1), false, &frame), 1);
	*(uint64_t *)mrn_hmm_frame(rig.hmm, frame) = 3;
	mrn_hmm_unpin(rig.hmm, &frame, 1, true);
	CHECK_EQ(mrn_hmm_make_exclusive(rig.hmm, p + PAGE(4), PAGE(1), lender, &exclusive), 1);
	*frame_of(&rig, exclusive) = 4;
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p + PAGE(5), PAGE(1), pfns), 1);
	*device_page(&device, pfns[0]) = 5;
	CHECK_EQ(run_to_ram(&rig, p + PAGE(5), 1), 1);
	mrn_hmm_set_dirty(rig.hmm, page_at(&rig, p + PAGE(6)).home);
	CHECK_EQ(run_reclaim(&rig, p, 7), 7);
	CHECK_EQ(word_at(p), rig.hmm->read_only_maps ? 4711 : word_of(0, 0, 1));
	for (uint64_t i = 1; i < 6; i++)
		CHECK_EQ(word_at(p + PAGE(i)), i);
	check_page(p + PAGE(6), 6, 1);
	free_region(&rig, other);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}
TWIN(reclaim_writes_what_is_dirty_and_nothing_else, dirt_is_forgotten, BREAK(HMM_DIRTY));

/* A device that forgets set_dirty loses what it wrote. This is no defect: it is what set_dirty is for. */
TEST(write_that_nobody_was_told_of_is_lost)
{
	HMM_RIG(rig, .frames = 128);
	char *p = region(&rig, 1, RW);
	struct hmm_view v;

	fill_pages(p, 1, 1);
	if (!rig.hmm->read_only_maps)
		SKIP("this kernel cannot tell reads from writes");
	view_init(&v, &rig, p, 1);
	for (int told = 0; told < 2; told++) {
		CHECK_EQ(run_reclaim(&rig, p, 1), 1);
		check_page(p, 0, 1);
		CHECK_ERR(view_fault(&v, HMM_PFN_REQ_FAULT), 0);
		/* It is not allowed to, either. */
		CHECK(!(v.pfns[0] & HMM_PFN_WRITE));
		*frame_of(&rig, v.pfns[0]) = 99;
		if (told)
			mrn_hmm_set_dirty(rig.hmm, mrn_hmm_pfn_to_frame(v.pfns[0]));
		CHECK_EQ(run_reclaim(&rig, p, 1), 1);
		CHECK_EQ(word_at(p), told ? 99 : word_of(0, 0, 1));
	}
	view_exit(&v);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}
TWIN(write_that_nobody_was_told_of_is_lost, set_dirty_is_forgotten, BREAK(HMM_DIRTY));

/* Never written to: there is nothing to keep. */
TEST(pages_of_zeros_go_without_the_file)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 8, RW);

	if (!rig.hmm->read_only_maps)
		SKIP("this kernel cannot tell reads from writes");
	check_zeros(p, 8);
	CHECK_EQ(run_writeback(&rig, p, 8), 0);
	CHECK_EQ(run_reclaim(&rig, p, 8), 8);
	CHECK_EQ(rig.hmm->backing.last, 0);
	check_zeros(p, 8);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

TEST(writeback_cleans_and_write_protects)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 4, RW);
	uint64_t frame;

	fill_pages(p, 4, 1);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p + PAGE(3), PAGE(1), true, &frame), 1);
	CHECK_EQ(run_writeback(&rig, p, 4), 4);
	CHECK_EQ(run_writeback(&rig, p, 4), 0);
	CHECK_EQ(stats_of(&rig).frames_used, 4);
	check_pages(p, 4, 1);
	CHECK_EQ(try_write(p + PAGE(1), 1), 0);
	CHECK_EQ(run_writeback(&rig, p, 4), 1);
	/* The pinned one is cleaned as long as it lasts: its device says when it has written. */
	*(uint64_t *)mrn_hmm_frame(rig.hmm, frame) = 3;
	CHECK_EQ(run_reclaim(&rig, p, 4), 3);
	CHECK_EQ(page_at(&rig, p + PAGE(3)).state, PAGE_RAM);
	mrn_hmm_unpin(rig.hmm, &frame, 1, true);
	CHECK_EQ(run_reclaim(&rig, p, 4), 1);
	CHECK_EQ(word_at(p + PAGE(3)), 3);
	CHECK_EQ(word_at(p + PAGE(1)), 1);
	check_page(p, 0, 1);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}
TWIN(writeback_cleans_and_write_protects, no_write_protect, BREAK(HMM_NO_WRITE_PROTECT));
TWIN(writeback_cleans_and_write_protects, dirt_is_forgotten, BREAK(HMM_DIRTY));

TEST(no_backing_file)
{
	HMM_RIG(rig, .frames = 64, .backing_fd = -1);
	char *p = region(&rig, 4, RW);

	fill_pages(p, 4, 1);
	CHECK_ERR(run_reclaim(&rig, p, 4), -EBADF);
	CHECK_ERR(run_writeback(&rig, p, 4), -EBADF);
	expect_none(&rig);
	check_pages(p, 4, 1);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}
