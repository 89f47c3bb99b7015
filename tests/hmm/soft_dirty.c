/* SPDX-License-Identifier: BSD-3-Clause */
/* Write tracking. */
#include "tests/hmm/changes.h"

/* --------------------------------------------------------------------------------------- soft dirty */

TEST(soft_dirty_tells_what_was_written_since)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 8, RW);
	uint8_t dirty[8];
	uint64_t frame;

	device_init(&device, &rig, 16);
	CHECK_ERR(mrn_hmm_soft_dirty(rig.hmm, p, PAGE(8), dirty), 0);
	for (size_t i = 0; i < 8; i++)
		CHECK_EQ(dirty[i], 1);
	fill_pages(p, 7, 1);
	for (int round = 0; round < 3; round++) {
		CHECK_ERR(run_soft_dirty(&rig, p, 8), 0);
		CHECK_ERR(mrn_hmm_soft_dirty(rig.hmm, p, PAGE(8), dirty), 0);
		for (size_t i = 0; i < 8; i++)
			CHECK_EQ(dirty[i], 0);
		/* 0 read, 1 written, 2 pinned to read, 3 pinned to write, 4 on a device, 5 lent, 6 gone. */
		CHECK_EQ(try_read(p), 0);
		CHECK_EQ(try_write(p + PAGE(1), 1), 0);
		CHECK_EQ(mrn_hmm_pin(rig.hmm, p + PAGE(2), PAGE(1), false, &frame), 1);
		mrn_hmm_unpin(rig.hmm, &frame, 1, false);
		CHECK_EQ(mrn_hmm_pin(rig.hmm, p + PAGE(3), PAGE(1), true, &frame), 1);
		mrn_hmm_unpin(rig.hmm, &frame, 1, false);
		CHECK_EQ(run_to_device(&rig, p + PAGE(4), 1), 1);
		CHECK_EQ(run_exclusive(&rig, p + PAGE(5), 1), 1);
		CHECK_ERR(run_discard(&rig, p + PAGE(6), 1), 0);
		for (int back = 0; back < 2; back++) {
			static const uint8_t want[] = {0, 1, 0, 1, 1, 1, 1, 0};

			CHECK_ERR(mrn_hmm_soft_dirty(rig.hmm, p, PAGE(8), dirty), 0);
			for (size_t i = 0; i < 8; i++)
				CHECK_EQ(dirty[i], want[i]);
			CHECK_EQ(try_read(p + PAGE(4)), 0);
			CHECK_EQ(try_read(p + PAGE(5)), 0);
		}
	}
	CHECK_EQ(run_to_ram(&rig, p, 8), 0);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}
TWIN(soft_dirty_tells_what_was_written_since, no_write_protect, BREAK(HMM_NO_WRITE_PROTECT));

/* Until somebody asks, also when nothing is mapped there for now. */
TEST(soft_dirty_of_what_has_moved_away)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 3, RW), *to = region(&rig, 3, RW);
	uint8_t dirty[3];
	uint64_t frame;

	device_init(&device, &rig, 16);
	fill_pages(p, 3, 1);
	/* 0 in memory, 1 on a device, which may write at any time, 2 said to be dirty by a device. */
	CHECK_EQ(run_to_device(&rig, p + PAGE(1), 1), 1);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p + PAGE(2), PAGE(1), true, &frame), 1);
	mrn_hmm_unpin(rig.hmm, &frame, 1, false);
	CHECK_ERR(mrn_hmm_take_soft_dirty(rig.hmm, p, PAGE(3), dirty), 0);
	CHECK_EQ(try_write(p, 1), 0);
	mrn_hmm_set_dirty(rig.hmm, frame);
	CHECK_ERR(mrn_hmm_move(rig.hmm, p, to, PAGE(3)), 0);
	CHECK_ERR(mrn_hmm_take_soft_dirty(rig.hmm, p, PAGE(3), dirty), 0);
	for (size_t i = 0; i < 3; i++)
		CHECK_EQ(dirty[i], 1);
	CHECK_ERR(mrn_hmm_soft_dirty(rig.hmm, to, PAGE(3), dirty), 0);
	for (size_t i = 0; i < 3; i++)
		CHECK_EQ(dirty[i], 1);
	CHECK_EQ(run_to_ram(&rig, to, 3), 1);
	free_region(&rig, p);
	free_region(&rig, to);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}
TWIN(soft_dirty_of_what_has_moved_away, leaves_none, BREAK(HMM_MOVE_SOFT));

/* What a device has said is kept with the page, whatever becomes of the frame; and taken apart from dirty. */
TEST(soft_dirty_tells_what_devices_wrote)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 4, RW), *to = region(&rig, 4, RW);
	uint8_t dirty[4];
	uint64_t frames[4];

	fill_pages(p, 4, 1);
	for (int round = 0; round < 2; round++) {
		CHECK_ERR(mrn_hmm_take_soft_dirty(rig.hmm, p, PAGE(4), dirty), 0);
		CHECK_EQ(mrn_hmm_pin(rig.hmm, p, PAGE(4), true, frames), 4);
		/* While they are pinned, as a device that works on. */
		CHECK_ERR(mrn_hmm_take_soft_dirty(rig.hmm, p, PAGE(4), dirty), 0);
		CHECK_EQ(dirty[0], 1);
		CHECK_ERR(mrn_hmm_soft_dirty(rig.hmm, p, PAGE(4), dirty), 0);
		CHECK_EQ(dirty[0], 0);
		mrn_hmm_set_dirty(rig.hmm, frames[0]);
		mrn_hmm_unpin(rig.hmm, &frames[1], 1, true);
		mrn_hmm_unpin(rig.hmm, &frames[2], 2, false);
		mrn_hmm_unpin(rig.hmm, &frames[0], 1, false);
		CHECK_EQ(run_writeback(&rig, p, 4), 4);
		if (round) {
			CHECK_EQ(run_compact(&rig, p, 4), 4);
			CHECK_EQ(run_reclaim(&rig, p, 4), 4);
		}
		for (int look = 0; look < 3; look++) {
			if (!look)
				CHECK_ERR(mrn_hmm_soft_dirty(rig.hmm, p, PAGE(4), dirty), 0);
			else
				CHECK_ERR(mrn_hmm_take_soft_dirty(rig.hmm, p, PAGE(4), dirty), 0);
			for (int i = 0; i < 4; i++)
				CHECK_EQ(dirty[i], i < 2 && look < 2);
		}
		for (size_t i = 0; i < 4; i++)
			CHECK_EQ(try_read(p + PAGE(i)), 0);
	}
	/* It goes along with a page that is moved. */
	CHECK_ERR(mrn_hmm_clear_soft_dirty(rig.hmm, p, PAGE(4)), 0);
	CHECK_ERR(mrn_hmm_clear_soft_dirty(rig.hmm, to, PAGE(4)), 0);
	mrn_hmm_set_dirty(rig.hmm, page_at(&rig, p + PAGE(1)).home);
	CHECK_ERR(mrn_hmm_unmap(rig.hmm, to, PAGE(4)), 0);
	CHECK_ERR(mrn_hmm_move(rig.hmm, p, to, PAGE(4)), 0);
	CHECK_ERR(mrn_hmm_soft_dirty(rig.hmm, to, PAGE(4), dirty), 0);
	CHECK_EQ(dirty[1], 1);
	CHECK_ERR(mrn_hmm_take_soft_dirty(rig.hmm, to, PAGE(4), NULL), -EINVAL);
	free_region(&rig, p);
	free_region(&rig, to);
	hmm_rig_exit(&rig);
}
TWIN(soft_dirty_tells_what_devices_wrote, set_dirty_is_forgotten, BREAK(HMM_DIRTY));

/* A write in the call itself: here by the CPU in the callback, with a device that says then what it has written. */
static char *taken;
static uint64_t taken_frame;

static void write_when_taken(struct hmm_rig *rig, const struct hmm_event *e)
{
	if (e->event != MMU_NOTIFY_SOFT_DIRTY || e->is_end)
		return;
	*(volatile uint64_t *)taken = 1;
	*(uint64_t *)mrn_hmm_frame(rig->hmm, taken_frame) = 2;
	mrn_hmm_set_dirty(rig->hmm, taken_frame);
}

TEST(take_loses_no_write_in_between)
{
	HMM_RIG(rig, .frames = 64, .handlers = 2);
	char *p = region(&rig, 2, RW);
	uint8_t dirty[2];

	fill_pages(p, 2, 1);
	CHECK_ERR(mrn_hmm_clear_soft_dirty(rig.hmm, p, PAGE(2)), 0);
	taken = p;
	taken_frame = page_at(&rig, p + PAGE(1)).home;
	rig.log.hook = write_when_taken;
	CHECK_ERR(mrn_hmm_take_soft_dirty(rig.hmm, p, PAGE(2), dirty), 0);
	rig.log.hook = NULL;
	CHECK_EQ(dirty[0], 1);
	CHECK_EQ(dirty[1], 1);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}
TWIN(take_loses_no_write_in_between, read_and_cleared_one_by_one, BREAK(HMM_TAKE));

/* Copies are kept true by take alone, among writers of both kinds. */
static uint32_t copies_end;
static uint64_t written;

static void write_on(void *arg)
{
	struct hmm_rig *rig = arg;

	for (uint64_t n = 1; !LOAD(&copies_end); n++) {
		uint64_t frame;

		__atomic_store_n((uint64_t *)(void *)(taken + PAGE(n % 4)), n, __ATOMIC_RELAXED);
		if (mrn_hmm_pin(rig->hmm, taken + PAGE(4 + n % 4), PAGE(1), true, &frame) != 1)
			continue;
		__atomic_store_n((uint64_t *)mrn_hmm_frame(rig->hmm, frame), n, __ATOMIC_RELAXED);
		mrn_hmm_unpin(rig->hmm, &frame, 1, true);
		STORE(&written, n);
	}
}

TEST(copies_by_take_are_true)
{
	HMM_RIG(rig, .frames = 64, .handlers = 2);
	char *p = region(&rig, 8, RW);
	uint64_t copy[8] = {0}, copied = 0;
	struct test_thread writer;
	uint8_t dirty[8];

	taken = p;
	test_thread(&writer, write_on, &rig);
	for (int round = 0; round <= ROUNDS(1500); round++) {
		uint64_t seen = LOAD(&written);

		/* The last time with nobody writing. */
		if (round == ROUNDS(1500)) {
			STORE(&copies_end, 1);
			test_join(&writer);
		}
		/* The pages are locked nearly all the time: let the other have a turn. */
		while (LOAD(&written) == seen && round < ROUNDS(1500))
			sched_yield();
		CHECK_ERR(mrn_hmm_take_soft_dirty(rig.hmm, p, PAGE(8), dirty), 0);
		for (size_t i = 0; i < 8; i++) {
			if (!dirty[i])
				continue;
			seen_by_tsan();
			copy[i] = __atomic_load_n((uint64_t *)(void *)(p + PAGE(i)),
						  __ATOMIC_RELAXED);
			copied++;
		}
		if (round % 8 == 0)
			CHECK(mrn_hmm_reclaim(rig.hmm, p, PAGE(4)) >= 0);
	}
	for (size_t i = 0; i < 8; i++)
		CHECK_EQ(copy[i], word_at(p + PAGE(i)));
	NOTE("%ju pages copied", (uintmax_t)copied);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}
