/* SPDX-License-Identifier: BSD-3-Clause */
/* What takes contents away or moves them to other frames: discard, reap, compact. */
#include "tests/hmm/changes.h"

/* ------------------------------------------------------------------------------------ discard, reap */

TEST(discard_leaves_zeros_whatever_was_there)
{
	HMM_RIG(rig, .frames = 128);
	char *p = region(&rig, 6, RW);

	catch_signals();
	device_init(&device, &rig, 16);
	for (int reap = 0; reap < 2; reap++) {
		fill_pages(p, 6, 1);
		CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p + PAGE(1), PAGE(1)), 1);
		CHECK_EQ(run_to_device(&rig, p + PAGE(2), 1), 1);
		CHECK_EQ(run_exclusive(&rig, p + PAGE(3), 1), 1);
		CHECK_ERR(mrn_hmm_unmap(rig.hmm, p + PAGE(4), PAGE(1)), 0);
		CHECK_EQ(mrn_hmm_writeback(rig.hmm, p, PAGE(1)), 1);
		settle(&rig, p, 6);
		forget_events(&rig);
		CHECK_ERR((reap ? run_reap : run_discard)(&rig, p, 5), 0);
		expect(&rig, MMU_NOTIFY_CLEAR, p, 5, NULL);
		CHECK_EQ(stats_of(&rig).frames_used, 1);
		CHECK_EQ(device.in_use, 0);
		CHECK_EQ(rig.hmm->backing.last, rig.hmm->backing.nr_free);
		check_zeros(p, 4);
		CHECK_EQ(try_read(p + PAGE(4)), SIGSEGV);
		check_page(p + PAGE(5), 5, 1);
		CHECK_ERR(mrn_hmm_map(rig.hmm, p + PAGE(4), PAGE(1), RW), 0);
	}
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}
TWIN(discard_leaves_zeros_whatever_was_there, device_memory_leaks, BREAK(HMM_FREE));

static struct test_gate entered, leave;

static void migrate_main(void *arg)
{
	struct hmm_rig *rig = arg;

	CHECK_EQ(run_to_device(rig, change_at, 1), 1);
}

TEST(reap_never_waits)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 4, RW);
	struct test_thread t;

	device_init(&device, &rig, 16);
	fill_pages(p, 4, 1);
	/* A callback refuses. */
	rig.log.refuse = true;
	settle(&rig, p, 4);
	CHECK_ERR(run_reap(&rig, p, 4), -EAGAIN);
	rig.log.refuse = false;
	CHECK_EQ(LOAD(&rig.mm->state), MRN_MM_IDLE);
	check_pages(p, 4, 1);
	/* A page is being changed. */
	device.entered = &entered;
	device.leave = &leave;
	change_at = p + PAGE(2);
	test_thread(&t, migrate_main, &rig);
	test_gate_wait(&entered);
	forget_events(&rig);
	CHECK_ERR(run_reap(&rig, p, 4), -EAGAIN);
	CHECK_EQ(events(&rig), 2);
	expect_event(&rig, 0, false, MMU_NOTIFY_CLEAR, p, 4, NULL);
	expect_event(&rig, 1, true, MMU_NOTIFY_CLEAR, p, 4, NULL);
	CHECK_ERR(run_reap(&rig, p, 1), 0);
	test_gate_open(&leave);
	test_join(&t);
	device.entered = NULL;
	check_zeros(p, 1);
	for (size_t i = 1; i < 4; i++)
		check_page(p + PAGE(i), i, 1);
	settle(&rig, p, 4);
	CHECK_ERR(run_reap(&rig, p, 4), 0);
	check_zeros(p, 4);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}
TWIN(reap_never_waits, no_page_locks, BREAK(HMM_LOCK));

/* ------------------------------------------------------------------------------------------ compact */

TEST(compact_gives_other_frames_with_the_same_contents)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 10, RW);
	uint64_t pinned, homes[10];

	catch_signals();
	device_init(&device, &rig, 16);
	fill_pages(p, 10, 1);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p + PAGE(2), PAGE(1), false, &pinned), 1);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p + PAGE(3), PAGE(1)), 1);
	CHECK_EQ(run_to_device(&rig, p + PAGE(4), 1), 1);
	CHECK_ERR(mrn_hmm_discard(rig.hmm, p + PAGE(5), PAGE(1)), 0);
	CHECK_ERR(mrn_hmm_unmap(rig.hmm, p + PAGE(6), PAGE(1)), 0);
	for (size_t i = 0; i < 10; i++)
		homes[i] = page_at(&rig, p + PAGE(i)).home;
	CHECK_EQ(run_compact(&rig, p, 10), 5);
	for (size_t i = 0; i < 10; i++)
		CHECK_EQ(page_at(&rig, p + PAGE(i)).home != homes[i], i < 2 || i > 6);
	CHECK_EQ(page_at(&rig, p + PAGE(2)).home, pinned);
	CHECK_EQ(page_at(&rig, p + PAGE(4)).state, PAGE_DEVICE);
	CHECK_EQ(page_at(&rig, p + PAGE(3)).state, PAGE_SWAPPED);
	for (size_t i = 0; i < 10; i++)
		if (i != 5 && i != 6)
			check_page(p + PAGE(i), i, 1);
	mrn_hmm_unpin(rig.hmm, &pinned, 1, false);
	CHECK_EQ(run_compact(&rig, p + PAGE(2), 1), 1);
	check_page(p + PAGE(2), 2, 1);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}
TWIN(compact_gives_other_frames_with_the_same_contents, pins_do_not_keep, BREAK(HMM_PINS));

/* It is not a write, neither for the file nor for soft-dirty; but a dirty page stays one. */
TEST(compact_is_no_write)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 3, RW);
	uint8_t dirty[3];
	uint64_t frame;

	fill_pages(p, 3, 1);
	CHECK_EQ(run_writeback(&rig, p, 3), 3);
	CHECK_ERR(run_soft_dirty(&rig, p, 3), 0);
	CHECK_EQ(try_write(p + PAGE(1), word_of(1, 0, 1)), 0);
	/* By a device that has said so. */
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p + PAGE(2), PAGE(1), false, &frame), 1);
	mrn_hmm_unpin(rig.hmm, &frame, 1, true);
	CHECK_EQ(run_compact(&rig, p, 3), 3);
	check_pages(p, 3, 1);
	CHECK_ERR(mrn_hmm_soft_dirty(rig.hmm, p, PAGE(3), dirty), 0);
	CHECK_EQ(dirty[0], !rig.hmm->read_only_maps);
	CHECK_EQ(dirty[1], 1);
	CHECK_EQ(run_writeback(&rig, p, 3), rig.hmm->read_only_maps ? 2 : 3);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}
TWIN(compact_is_no_write, dirt_is_forgotten, BREAK(HMM_DIRTY));
