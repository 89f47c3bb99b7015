/* SPDX-License-Identifier: BSD-3-Clause */
/* Pins, and the quarantine of frames. */
#include "tests/hmm/changes.h"

/* --------------------------------------------------------------------------------------------- pins */

TEST(pinned_frame_outlives_its_page)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 4, RW);
	uint64_t first[4], second[4];

	fill_pages(p, 4, 1);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p, PAGE(4), true, first), 4);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p, PAGE(4), false, second), 4);
	for (size_t i = 0; i < 4; i++)
		CHECK_EQ(first[i], second[i]);
	CHECK_ERR(run_discard(&rig, p, 2), 0);
	CHECK_ERR(run_unmap(&rig, p + PAGE(2), 1), 0);
	CHECK_EQ(stats_of(&rig).frames_used, 4);
	/* Nobody else gets them. */
	fill_pages(p, 2, 2);
	CHECK_EQ(stats_of(&rig).frames_used, 6);
	for (size_t i = 0; i < 4; i++)
		check_page(mrn_hmm_frame(rig.hmm, first[i]), i, 1);
	free_region(&rig, p);
	CHECK_EQ(stats_of(&rig).frames_used, 4);
	/* The last pin retires them, once. */
	mrn_hmm_unpin(rig.hmm, first, 4, true);
	CHECK_EQ(stats_of(&rig).frames_used, 4);
	for (size_t i = 0; i < 4; i++)
		check_page(mrn_hmm_frame(rig.hmm, first[i]), i, 1);
	mrn_hmm_unpin(rig.hmm, second, 2, false);
	CHECK_EQ(stats_of(&rig).frames_used, 2);
	mrn_hmm_unpin(rig.hmm, second + 2, 2, true);
	CHECK_EQ(stats_of(&rig).frames_used, 0);
	p = region(&rig, 64, RW);
	check_zeros(p, 64);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}
TWIN(pinned_frame_outlives_its_page, pins_do_not_keep, BREAK(HMM_PINS));

TEST(pinned_page_stays_where_it_is)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 4, RW);
	uint64_t frames[4], again[4];

	device_init(&device, &rig, 16);
	fill_pages(p, 4, 1);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p, PAGE(4), true, frames), 4);
	CHECK_EQ(run_compact(&rig, p, 4), 0);
	CHECK_EQ(run_reclaim(&rig, p, 4), 0);
	CHECK_EQ(run_to_device(&rig, p, 4), 0);
	for (size_t i = 0; i < 4; i++)
		CHECK_EQ(page_at(&rig, p + PAGE(i)).home, frames[i]);
	/* Lent, moved and protected it can be. */
	CHECK_EQ(run_exclusive(&rig, p, 4), 4);
	CHECK_ERR(mrn_hmm_protect(rig.hmm, p, PAGE(1), RD), 0);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p, PAGE(4), false, again), 4);
	CHECK(!memcmp(frames, again, sizeof(frames)));
	check_pages(p, 4, 1);
	mrn_hmm_unpin(rig.hmm, again, 4, false);
	mrn_hmm_unpin(rig.hmm, frames, 4, false);
	CHECK_EQ(run_to_device(&rig, p, 4), 4);
	/* A pin brings pages back, and says so. */
	forget_events(&rig);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p + PAGE(1), PAGE(1), false, frames), 1);
	expect(&rig, MMU_NOTIFY_MIGRATE, p + PAGE(1), 1, &device);
	mrn_hmm_unpin(rig.hmm, frames, 1, false);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}
TWIN(pinned_page_stays_where_it_is, pins_do_not_keep, BREAK(HMM_PINS));

/* All or none: also beyond what is pinned in one step. */
TEST(pin_that_fails_pins_nothing)
{
	HMM_RIG(rig, .frames = 256);
	char *p = region(&rig, 200, RW);
	uint64_t frames[200];

	fill_pages(p, 200, 1);
	CHECK_ERR(run_protect(&rig, p + PAGE(190), 1), 0);
	CHECK_ERR(run_unmap(&rig, p + PAGE(199), 1), 0);
	CHECK_ERR(mrn_hmm_pin(rig.hmm, p, PAGE(200), true, frames), -EFAULT);
	CHECK_ERR(mrn_hmm_pin(rig.hmm, p, PAGE(200), false, frames), -EFAULT);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p + PAGE(190), PAGE(1), false, frames), 1);
	mrn_hmm_unpin(rig.hmm, frames, 1, false);
	CHECK_ERR(mrn_hmm_protect(rig.hmm, p + PAGE(50), PAGE(1), PROT_NONE), 0);
	CHECK_ERR(mrn_hmm_pin(rig.hmm, p, PAGE(100), false, frames), -EFAULT);
	/* None is kept. */
	CHECK_EQ(run_compact(&rig, p, 200), 199);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

/* ---------------------------------------------------------------------------------------- quarantine */

static struct {
	unsigned int calls;
	uint64_t frame, found;
	size_t offset;
} seen;

static void violation(void *arg, uint64_t frame, size_t offset, uint64_t found)
{
	CHECK(arg == &seen);
	seen.calls++;
	seen.frame = frame;
	seen.offset = offset;
	seen.found = found;
}

TEST(quarantine_poisons_and_finds_writes)
{
	HMM_RIG(rig, .frames = 64, .quarantine = 8, .violation = violation, .violation_arg = &seen);
	char *p = region(&rig, 40, RW);
	volatile uint64_t *stale[3];

	fill_pages(p, 3, 1);
	for (size_t i = 0; i < 3; i++)
		stale[i] = mrn_hmm_frame(rig.hmm, page_at(&rig, p + PAGE(i)).home);
	CHECK_ERR(run_discard(&rig, p, 3), 0);
	CHECK_EQ(stats_of(&rig).frames_used, 0);
	for (size_t i = 0; i < 3; i++) {
		uint64_t frame =
			(uint64_t)((uintptr_t)stale[i] - (uintptr_t)mrn_hmm_frame(rig.hmm, 0)) /
			mrn_page_size();

		for (size_t w = 0; w < mrn_page_size() / 8; w++) {
			CHECK_EQ(stale[i][w], MRN_HMM_POISON(frame));
			CHECK(MRN_HMM_IS_POISON(stale[i][w]));
		}
	}
	/* One is read only; one is written to twice. */
	stale[1][100] = 1;
	stale[1][200] = 2;
	CHECK_EQ(seen.calls, 0);
	for (size_t i = 10; i < 40; i++) {
		fill_pages(p + PAGE(i), 1, 2);
		CHECK_ERR(run_discard(&rig, p + PAGE(i), 1), 0);
	}
	CHECK_EQ(seen.calls, 1);
	CHECK_EQ(seen.offset, 800);
	CHECK_EQ(seen.found, 1);
	CHECK(mrn_hmm_frame(rig.hmm, seen.frame) == (void *)(uintptr_t)stale[1]);
	CHECK_EQ(stats_of(&rig).violations, 1);
	CHECK_EQ(stats_of(&rig).frames_quarantined, 8);
	/* It is not taken out on who comes next. */
	check_zeros(p, 40);
	free_region(&rig, p);
	/* At the end all of it is looked at. */
	CHECK_EQ(stats_of(&rig).frames_quarantined, 8);
	((volatile uint64_t *)mrn_hmm_frame(rig.hmm, rig.hmm->frames.ring[0]))[7] = 3;
	CHECK_ERR(mmu_notifier_unregister(&rig.log.mn, rig.mm), 0);
	CHECK_ERR(mrn_hmm_destroy(rig.hmm), 0);
	CHECK_EQ(seen.calls, 2);
	CHECK_EQ(seen.offset, 56);
	CHECK_EQ(seen.found, 3);
}

/* A pinned frame may still be used: it goes there with the last pin only. */
TEST(quarantine_waits_for_pins)
{
	HMM_RIG(rig, .frames = 64, .quarantine = 8, .violation = violation, .violation_arg = &seen);
	char *p = region(&rig, 1, RW);
	uint64_t frame, *word;

	fill_pages(p, 1, 1);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p, PAGE(1), true, &frame), 1);
	word = mrn_hmm_frame(rig.hmm, frame);
	CHECK_ERR(run_discard(&rig, p, 1), 0);
	check_page(word, 0, 1);
	word[3] = 3;
	CHECK_EQ(word[3], 3);
	mrn_hmm_unpin(rig.hmm, &frame, 1, true);
	CHECK_EQ(word[3], MRN_HMM_POISON(frame));
	free_region(&rig, p);
	hmm_rig_exit(&rig);
	CHECK_EQ(seen.calls, 0);
}
TWIN(quarantine_waits_for_pins, pins_do_not_keep, BREAK(HMM_PINS));

/* When frames are short, a quarantine that is not full gives way. */
TEST(quarantine_does_not_starve)
{
	HMM_RIG(rig, .frames = 32, .quarantine = 31);
	char *p = region(&rig, 32, RW);

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < 31; i++) {
			CHECK_EQ(try_write(p + PAGE(i), i), 0);
			CHECK_ERR(run_discard(&rig, p + PAGE(i), 1), 0);
		}
		fill_pages(p, 30, 1);
		check_pages(p, 30, 1);
		CHECK_ERR(run_discard(&rig, p, 32), 0);
	}
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}
