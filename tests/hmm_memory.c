/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Managed memory: every function does what <mrn/hmm.h> says of it, to the contents as the CPU and as a
 * device sees them, and announces it.
 */
#include "tests/hmm_fixture.h"

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

/* ----------------------------------------------------------------------------------- the bracket */

/* What a change is seen as, by who is told of its start and of its end. */
struct change {
	const char *name;
	enum mmu_notifier_event event;
	long (*run)(struct hmm_rig *rig, char *p, size_t n);
	long result;
	enum mrn_hmm_state before, after;
	bool away;	      /* the CPU has no entry at the end */
	bool write_protected; /* or one that it may not write through */
	bool owner;	      /* the device is named */
};

static struct hmm_test_device device;
static void *const lender = &device;
static unsigned long pfns[64];

static long run_unmap(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_unmap(rig->hmm, p, PAGE(n));
}

static long run_protect(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_protect(rig->hmm, p, PAGE(n), RD);
}

static long run_discard(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_discard(rig->hmm, p, PAGE(n));
}

static long run_reap(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_reap(rig->hmm, p, PAGE(n));
}

static long run_compact(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_compact(rig->hmm, p, PAGE(n));
}

static long run_reclaim(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_reclaim(rig->hmm, p, PAGE(n));
}

static long run_writeback(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_writeback(rig->hmm, p, PAGE(n));
}

static long run_soft_dirty(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_clear_soft_dirty(rig->hmm, p, PAGE(n));
}

static long run_to_device(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_migrate_to_device(rig->hmm, &device.dev, p, PAGE(n), NULL);
}

static long run_to_ram(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_migrate_to_ram(rig->hmm, p, PAGE(n));
}

static long run_exclusive(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_make_exclusive(rig->hmm, p, PAGE(n), lender, pfns);
}

static const struct change changes[] = {
	{"unmap", MMU_NOTIFY_UNMAP, run_unmap, 0, PAGE_RAM, PAGE_HOLE, .away = true},
	{"protect", MMU_NOTIFY_PROTECTION_VMA, run_protect, 0, PAGE_RAM, PAGE_RAM},
	{"discard", MMU_NOTIFY_CLEAR, run_discard, 0, PAGE_RAM, PAGE_NONE, .away = true},
	{"reap", MMU_NOTIFY_CLEAR, run_reap, 0, PAGE_RAM, PAGE_NONE, .away = true},
	{"compact", MMU_NOTIFY_CLEAR, run_compact, 4, PAGE_RAM, PAGE_RAM, .away = true},
	{"reclaim", MMU_NOTIFY_CLEAR, run_reclaim, 4, PAGE_RAM, PAGE_SWAPPED, .away = true},
	{"writeback", MMU_NOTIFY_PROTECTION_PAGE, run_writeback, 4, PAGE_RAM, PAGE_RAM,
	 .write_protected = true},
	{"clear_soft_dirty", MMU_NOTIFY_SOFT_DIRTY, run_soft_dirty, 0, PAGE_RAM, PAGE_RAM,
	 .write_protected = true},
	{"migrate_to_device", MMU_NOTIFY_MIGRATE, run_to_device, 4, PAGE_RAM, PAGE_DEVICE,
	 .away = true, .owner = true},
	{"migrate_to_ram", MMU_NOTIFY_MIGRATE, run_to_ram, 4, PAGE_DEVICE, PAGE_RAM, .away = true,
	 .owner = true},
	{"make_exclusive", MMU_NOTIFY_EXCLUSIVE, run_exclusive, 4, PAGE_RAM, PAGE_RAM, .away = true,
	 .owner = true},
};

/* The change under way, and the first of its four pages as it was. */
static const struct change *change;
static char *change_at;
static struct mrn_hmm_page was;

static void look_inside(struct hmm_rig *rig, const struct hmm_event *e)
{
	struct mrn_hmm_page p = page_at(rig, change_at);

	if (!e->is_end) {
		/* Nothing has happened yet. */
		CHECK_EQ(p.state, change->before);
		CHECK_EQ(p.home, was.home);
		CHECK_EQ(p.flags, was.flags);
		CHECK_EQ(p.prot, was.prot);
		CHECK_EQ(has_entry(change_at), change->before == PAGE_RAM);
		return;
	}
	/* All of it has, and nobody can have touched the page. */
	CHECK_EQ(p.state, change->after);
	CHECK(p.flags & PAGE_BUSY);
	if (change->away)
		CHECK(!has_entry(change_at));
	if (change->write_protected)
		CHECK(is_write_protected(change_at));
	if (change->run == run_compact)
		CHECK_NE(p.home, was.home);
	if (change->run == run_exclusive)
		CHECK(p.flags & PAGE_EXCLUSIVE);
	if (change->run == run_protect)
		CHECK_EQ(p.prot, RD);
}

TEST(every_change_is_announced_around_it)
{
	HMM_RIG(rig, .frames = 128);

	device_init(&device, &rig, 64);
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		char *p = region(&rig, 8, RW);

		change = &changes[i];
		change_at = p + PAGE(2);
		fill_pages(p, 8, 1);
		if (change->before == PAGE_DEVICE)
			CHECK_EQ(run_to_device(&rig, p + PAGE(2), 4), 4);
		settle(&rig, p, 8);
		was = page_at(&rig, change_at);
		forget_events(&rig);
		rig.log.hook = look_inside;
		CHECK_MSG(change->run(&rig, p + PAGE(2), 4) == change->result, "%s", change->name);
		rig.log.hook = NULL;
		expect(&rig, change->event, p + PAGE(2), 4, change->owner ? &device : NULL);
		/* What is next to it has not been touched. */
		check_page(p, 0, 1);
		check_page(p + PAGE(1), 1, 1);
		check_page(p + PAGE(6), 6, 1);
		check_page(p + PAGE(7), 7, 1);
		free_region(&rig, p);
	}
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}
TWIN(every_change_is_announced_around_it, no_start, BREAK(HMM_NO_START));
TWIN(every_change_is_announced_around_it, early_end, BREAK(HMM_EARLY_END));
TWIN(every_change_is_announced_around_it, no_zap, BREAK(HMM_NO_ZAP));
TWIN(every_change_is_announced_around_it, no_write_protect, BREAK(HMM_NO_WRITE_PROTECT));

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
			mrn_hmm_set_dirty(rig.hmm, hmm_pfn_to_frame(v.pfns[0]));
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

/* --------------------------------------------------------------------------------- device memory */

TEST(pages_migrate_and_come_back)
{
	HMM_RIG(rig, .frames = 256);
	char *p = region(&rig, 100, RW);

	device_init(&device, &rig, 128);
	fill_pages(p, 100, 1);
	CHECK_EQ(run_reclaim(&rig, p, 10), 10);
	CHECK_ERR(run_discard(&rig, p + PAGE(90), 10), 0);
	forget_events(&rig);
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p, PAGE(60), pfns), 60);
	expect(&rig, MMU_NOTIFY_MIGRATE, p, 60, &device);
	CHECK_EQ(stats_of(&rig).frames_used, 30);
	CHECK_EQ(stats_of(&rig).to_device, 60);
	for (size_t i = 0; i < 60; i++) {
		CHECK(pfns[i] & HMM_PFN_WRITE);
		check_page(device_page(&device, pfns[i]), i, 1);
		*device_page(&device, pfns[i]) = i;
	}
	/* What is there stays. */
	CHECK_EQ(run_to_device(&rig, p + PAGE(40), 60), 60);
	CHECK_EQ(device.allocs, 100);
	CHECK_EQ(stats_of(&rig).frames_used, 0);
	/* A touch brings one back; then the others. */
	forget_events(&rig);
	CHECK_EQ(word_at(p + PAGE(7)), 7);
	expect(&rig, MMU_NOTIFY_MIGRATE, p + PAGE(7), 1, &device);
	CHECK_EQ(device.in_use, 99);
	CHECK_EQ(run_to_ram(&rig, p, 100), 99);
	CHECK_EQ(stats_of(&rig).to_ram, 100);
	CHECK_EQ(device.in_use, 0);
	for (size_t i = 0; i < 90; i++) {
		CHECK_EQ(word_at(p + PAGE(i)), i < 60 ? i : word_of(i, 0, 1));
		CHECK_EQ(word_at(p + PAGE(i) + 8), word_of(i, 1, 1));
	}
	check_zeros(p + PAGE(90), 10);
	forget_events(&rig);
	CHECK_EQ(run_to_ram(&rig, p, 100), 0);
	expect_none(&rig);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

TEST(what_does_not_migrate_is_passed_over)
{
	HMM_RIG(rig, .frames = 256);
	char *p = region(&rig, 8, RW);
	struct hmm_test_device other;
	uint64_t frame, page;

	device_init(&device, &rig, 16);
	device_init(&other, &rig, 16);
	fill_pages(p, 8, 1);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, p + PAGE(1), PAGE(1), false, &frame), 1);
	CHECK_ERR(run_unmap(&rig, p + PAGE(2), 1), 0);
	CHECK_ERR(mrn_hmm_protect(rig.hmm, p + PAGE(3), PAGE(1), PROT_NONE), 0);
	CHECK_ERR(mrn_hmm_protect(rig.hmm, p + PAGE(4), PAGE(1), RD), 0);
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &other.dev, p + PAGE(5), PAGE(1), NULL), 1);
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p, PAGE(8), pfns), 4);
	for (size_t i = 0; i < 8; i++)
		CHECK_EQ(pfns[i] != 0, i == 0 || i == 4 || i == 6 || i == 7);
	CHECK(!(pfns[4] & HMM_PFN_WRITE));
	CHECK(pfns[6] & HMM_PFN_WRITE);
	/* Numbers are of one device. */
	CHECK(mrn_hmm_device_page(&device.dev, pfns[6], &page));
	CHECK(!mrn_hmm_device_page(&other.dev, pfns[6], &page));
	CHECK(!mrn_hmm_frame(rig.hmm, hmm_pfn_to_frame(pfns[6])));
	/* From one to the other by way of system memory: whoever takes a page announces the other's loss. */
	forget_events(&rig);
	check_page(p + PAGE(5), 5, 1);
	expect(&rig, MMU_NOTIFY_MIGRATE, p + PAGE(5), 1, &other);
	/* A removed device is not there any more; its pages are back first. */
	CHECK_ERR(mrn_hmm_device_remove(rig.hmm, &device.dev), 0);
	CHECK_EQ(device.in_use, 0);
	CHECK_ERR(mrn_hmm_device_remove(rig.hmm, &device.dev), -ENOENT);
	CHECK_ERR(run_to_device(&rig, p, 1), -ENOENT);
	CHECK(!mrn_hmm_device_page(&device.dev, pfns[6], &page));
	check_page(p, 0, 1);
	check_page(p + PAGE(4), 4, 1);
	check_page(p + PAGE(7), 7, 1);
	CHECK_ERR(mrn_hmm_device_add(rig.hmm, &device.dev), 0);
	CHECK_ERR(mrn_hmm_device_add(rig.hmm, &device.dev), -EBUSY);
	CHECK_EQ(run_to_device(&rig, p, 1), 1);
	mrn_hmm_unpin(rig.hmm, &frame, 1, false);
	free_region(&rig, p);
	device_exit(&device, &rig);
	device_exit(&other, &rig);
	hmm_rig_exit(&rig);
}

/* Device memory that is short, or a copy that fails: what is told is true, and nothing is lost. */
TEST(migration_that_fails_loses_nothing)
{
	HMM_RIG(rig, .frames = 256);
	char *p = region(&rig, 100, RW);

	device_init(&device, &rig, 30);
	fill_pages(p, 100, 1);
	device.fail_alloc = -ENODEV;
	CHECK_ERR(run_to_device(&rig, p, 100), -ENODEV);
	device.fail_alloc = 0;
	device.fail_to_device = -EIO;
	CHECK_ERR(run_to_device(&rig, p, 100), -EIO);
	CHECK_EQ(device.in_use, 0);
	device.fail_to_device = 0;
	check_pages(p, 100, 1);
	/* In small pieces, as far as it has room. */
	device.most = 7;
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p + PAGE(10), PAGE(50), pfns), 30);
	for (size_t i = 0; i < 50; i++)
		CHECK_EQ(pfns[i] != 0, i < 30);
	CHECK_EQ(run_to_device(&rig, p, 5), 0);
	device.fail_alloc = -EIO;
	/* Some are there already: so many are. */
	CHECK_EQ(run_to_device(&rig, p, 100), 30);
	device.fail_alloc = 0;
	device.fail_to_ram = -EIO;
	CHECK_ERR(run_to_ram(&rig, p, 100), -EIO);
	CHECK_ERR(mrn_hmm_device_remove(rig.hmm, &device.dev), -EIO);
	CHECK_EQ(device.in_use, 30);
	/* The CPU cannot have it, either. */
	catch_signals();
	CHECK_EQ(try_read(p + PAGE(12)), SIGBUS);
	CHECK(hmm_signal.addr == p + PAGE(12));
	CHECK_EQ(stats_of(&rig).unserved, 1);
	device.fail_to_ram = 0;
	check_pages(p, 100, 1);
	CHECK_EQ(device.in_use, 0);
	/* What is dropped is given back. */
	CHECK_EQ(run_to_device(&rig, p, 20), 20);
	CHECK_ERR(run_discard(&rig, p, 5), 0);
	CHECK_ERR(run_unmap(&rig, p + PAGE(5), 5), 0);
	CHECK_ERR(mrn_hmm_move(rig.hmm, p + PAGE(50), p + PAGE(10), PAGE(5)), 0);
	CHECK_EQ(device.in_use, 5);
	free_region(&rig, p);
	CHECK_EQ(device.in_use, 0);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}
TWIN(migration_that_fails_loses_nothing, device_memory_leaks, BREAK(HMM_FREE));

/* ---------------------------------------------------------------------------------------- exclusive */

TEST(lent_pages_are_taken_back_by_a_touch)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 8, RW);
	struct hmm_view v;

	device_init(&device, &rig, 16);
	fill_pages(p, 8, 1);
	CHECK_EQ(run_reclaim(&rig, p + PAGE(1), 1), 1);
	CHECK_EQ(run_to_device(&rig, p + PAGE(2), 1), 1);
	CHECK_EQ(run_exclusive(&rig, p, 8), 8);
	forget_events(&rig);
	for (size_t i = 0; i < 8; i++) {
		CHECK_EQ(pfns[i] & HMM_PFN_FLAGS, (unsigned long)(HMM_PFN_VALID | HMM_PFN_WRITE));
		check_page(frame_of(&rig, pfns[i]), i, 1);
		CHECK(!has_entry(p + PAGE(i)));
		*frame_of(&rig, pfns[i]) = 100 + i;
	}
	/* By a read, by a write, by another consumer. */
	CHECK_EQ(word_at(p), 100);
	expect(&rig, MMU_NOTIFY_EXCLUSIVE, p, 1, NULL);
	CHECK_EQ(word_at(p), 100);
	expect_none(&rig);
	CHECK_EQ(try_write(p + PAGE(1) + 8, 1), 0);
	expect(&rig, MMU_NOTIFY_EXCLUSIVE, p + PAGE(1), 1, NULL);
	CHECK_EQ(word_at(p + PAGE(1)), 101);
	view_init(&v, &rig, p + PAGE(2), 1);
	CHECK_ERR(view_snapshot(&v), 0);
	CHECK_EQ(v.pfns[0], 0);
	expect_none(&rig);
	/* The loan's end is a collision, and then it comes out. */
	CHECK_ERR(view_try(&v, HMM_PFN_REQ_FAULT), -EBUSY);
	expect(&rig, MMU_NOTIFY_EXCLUSIVE, p + PAGE(2), 1, NULL);
	CHECK_ERR(view_try(&v, HMM_PFN_REQ_FAULT), 0);
	CHECK_EQ(*frame_of(&rig, v.pfns[0]), 102);
	view_exit(&v);
	/* Every other change ends the loan, too. */
	CHECK_EQ(run_compact(&rig, p + PAGE(3), 1), 1);
	CHECK_ERR(run_protect(&rig, p + PAGE(4), 1), 0);
	CHECK_EQ(run_writeback(&rig, p + PAGE(5), 1), 1);
	CHECK_ERR(run_soft_dirty(&rig, p + PAGE(6), 1), 0);
	CHECK_EQ(run_to_device(&rig, p + PAGE(7), 1), 1);
	for (size_t i = 3; i < 8; i++)
		CHECK(!(page_at(&rig, p + PAGE(i)).flags & PAGE_EXCLUSIVE));
	for (size_t i = 3; i < 8; i++)
		CHECK_EQ(word_at(p + PAGE(i)), 100 + i);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}
TWIN(lent_pages_are_taken_back_by_a_touch, no_zap, BREAK(HMM_NO_ZAP));

TEST(what_cannot_be_lent)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 8, RW);
	int lender_2;

	device_init(&device, &rig, 16);
	fill_pages(p, 8, 1);
	CHECK_ERR(run_protect(&rig, p + PAGE(2), 1), 0);
	CHECK_ERR(mrn_hmm_protect(rig.hmm, p + PAGE(4), PAGE(1), PROT_NONE), 0);
	CHECK_ERR(run_unmap(&rig, p + PAGE(6), 1), 0);
	CHECK_ERR(run_exclusive(&rig, p, 3), -EPERM);
	CHECK_ERR(run_exclusive(&rig, p + PAGE(3), 2), -EFAULT);
	CHECK_ERR(run_exclusive(&rig, p + PAGE(5), 2), -EFAULT);
	for (size_t i = 0; i < 8; i++)
		CHECK(!(page_at(&rig, p + PAGE(i)).flags & PAGE_EXCLUSIVE));
	/* To somebody else: who has it is told. */
	CHECK_EQ(run_exclusive(&rig, p, 2), 2);
	forget_events(&rig);
	CHECK_EQ(mrn_hmm_make_exclusive(rig.hmm, p, PAGE(1), &lender_2, pfns), 1);
	expect(&rig, MMU_NOTIFY_EXCLUSIVE, p, 1, &lender_2);
	/* A page that could not come back. */
	CHECK_EQ(run_to_device(&rig, p + PAGE(7), 1), 1);
	device.fail_to_ram = -EIO;
	CHECK_ERR(run_exclusive(&rig, p + PAGE(7), 1), -EIO);
	device.fail_to_ram = 0;
	CHECK_EQ(run_exclusive(&rig, p + PAGE(7), 1), 1);
	check_page(p + PAGE(7), 7, 1);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

/* ---------------------------------------------------------------------------------------- bad input */

/* One call with an address and a length. */
struct call {
	const char *name;
	long (*run)(struct hmm_rig *rig, void *p, size_t length);
};

static uint64_t frames_out[64];
static uint8_t dirty_out[64];

#define CALL(ident, expr)                                                     \
	static long call_##ident(struct hmm_rig *rig, void *p, size_t length) \
	{                                                                     \
		return expr;                                                  \
	}

CALL(unmap, mrn_hmm_unmap(rig->hmm, p, length))
CALL(map, mrn_hmm_map(rig->hmm, p, length, RW))
CALL(protect, mrn_hmm_protect(rig->hmm, p, length, RD))
CALL(discard, mrn_hmm_discard(rig->hmm, p, length))
CALL(reap, mrn_hmm_reap(rig->hmm, p, length))
CALL(compact, mrn_hmm_compact(rig->hmm, p, length))
CALL(reclaim, mrn_hmm_reclaim(rig->hmm, p, length))
CALL(writeback, mrn_hmm_writeback(rig->hmm, p, length))
CALL(clear, mrn_hmm_clear_soft_dirty(rig->hmm, p, length))
CALL(soft_dirty, mrn_hmm_soft_dirty(rig->hmm, p, length, dirty_out))
CALL(pin, mrn_hmm_pin(rig->hmm, p, length, true, frames_out))
CALL(to_device, mrn_hmm_migrate_to_device(rig->hmm, &device.dev, p, length, NULL))
CALL(to_ram, mrn_hmm_migrate_to_ram(rig->hmm, p, length))
CALL(exclusive, mrn_hmm_make_exclusive(rig->hmm, p, length, lender, pfns))

static char *elsewhere;
CALL(move_from, mrn_hmm_move(rig->hmm, p, elsewhere, length))
CALL(move_to, mrn_hmm_move(rig->hmm, elsewhere, p, length))

static const struct call calls[] = {
	{"unmap", call_unmap},
	{"map", call_map},
	{"protect", call_protect},
	{"discard", call_discard},
	{"reap", call_reap},
	{"compact", call_compact},
	{"reclaim", call_reclaim},
	{"writeback", call_writeback},
	{"clear_soft_dirty", call_clear},
	{"soft_dirty", call_soft_dirty},
	{"pin", call_pin},
	{"to_device", call_to_device},
	{"to_ram", call_to_ram},
	{"exclusive", call_exclusive},
	{"move_from", call_move_from},
	{"move_to", call_move_to},
};

enum { NR_CALLS = sizeof(calls) / sizeof(calls[0]) };

TEST(addresses_that_are_none)
{
	HMM_RIG(rig, .frames = 256);
	char *p = region(&rig, 8, RW), *outside;

	device_init(&device, &rig, 16);
	elsewhere = region(&rig, 32, RW);
	fill_pages(p, 8, 1);
	fill_pages(elsewhere, 32, 2);
	outside = mmap(NULL, PAGE(2), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(outside != MAP_FAILED);
	for (size_t i = 0; i < NR_CALLS; i++) {
		const struct {
			void *p;
			size_t length;
		} bad[] = {
			{p, 0},
			{p, 1},
			{p, PAGE(1) + 1},
			{p + 1, PAGE(1)},
			{p + 8, PAGE(1) - 8},
			{p, PAGE(9)},
			{p + PAGE(7), PAGE(2)},
			{p + PAGE(8), PAGE(1) * 0},
			{p - PAGE(1) + 1, PAGE(1)},
			{p, (size_t)0 - PAGE(1)},
			{p + PAGE(4), (size_t)0 - PAGE(4)},
			{NULL, PAGE(1)},
			{outside, PAGE(1)},
			{(void *)(uintptr_t)-PAGE(1), PAGE(1)},
			{&rig, PAGE(1)},
		};

		for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
			CHECK_MSG(calls[i].run(&rig, bad[k].p, bad[k].length) == -EINVAL, "%s %zu",
				  calls[i].name, k);
	}
	expect_none(&rig);
	check_pages(p, 8, 1);
	check_pages(elsewhere, 32, 2);
	CHECK_EQ(munmap(outside, PAGE(2)), 0);
	free_region(&rig, p);
	/* What is freed is no region any more. */
	forget_events(&rig);
	for (size_t i = 0; i < NR_CALLS; i++)
		CHECK_MSG(calls[i].run(&rig, p, PAGE(1)) == -EINVAL, "%s", calls[i].name);
	CHECK_ERR(mrn_hmm_free(rig.hmm, p), -EINVAL);
	CHECK_ERR(mrn_hmm_free(rig.hmm, elsewhere + PAGE(1)), -EINVAL);
	CHECK_ERR(mrn_hmm_free(rig.hmm, elsewhere + 1), -EINVAL);
	CHECK_ERR(mrn_hmm_free(rig.hmm, NULL), -EINVAL);
	expect_none(&rig);
	check_pages(elsewhere, 32, 2);
	free_region(&rig, elsewhere);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

TEST(arguments_that_are_wrong)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 8, RW);
	struct hmm_rig none = {0};
	struct mrn_hmm_device odd = {0};
	struct mrn_hmm_device_ops partial = test_device_ops;
	struct mrn_hmm_stats stats;
	void *at = &at;
	uint64_t page;

	device_init(&device, &rig, 16);
	fill_pages(p, 8, 1);
	elsewhere = p + PAGE(4);
	for (size_t i = 0; i < NR_CALLS; i++)
		CHECK_MSG(calls[i].run(&none, p, PAGE(1)) == -EINVAL, "%s", calls[i].name);
	CHECK_ERR(mrn_hmm_free(NULL, p), -EINVAL);
	CHECK_ERR(mrn_hmm_destroy(NULL), -EINVAL);
	CHECK_ERR(mrn_hmm_get_stats(NULL, &stats, sizeof(stats)), -EINVAL);
	CHECK_ERR(mrn_hmm_get_stats(rig.hmm, NULL, 1), -EINVAL);
	CHECK(!mrn_hmm_mm(NULL));
	CHECK(!mrn_hmm_frame(NULL, 0));
	CHECK(!mrn_hmm_frame(rig.hmm, 64));
	CHECK(!mrn_hmm_frame(rig.hmm, UINT64_MAX));
	CHECK(mrn_hmm_frame(rig.hmm, 63));
	mrn_hmm_set_dirty(rig.hmm, 64);
	mrn_hmm_set_dirty(NULL, 0);
	mrn_hmm_unpin(NULL, &page, 1, true);
	/* Protections. */
	CHECK_ERR(mrn_hmm_protect(rig.hmm, p, PAGE(1), PROT_EXEC), -EINVAL);
	CHECK_ERR(mrn_hmm_protect(rig.hmm, p, PAGE(1), -1), -EINVAL);
	CHECK_ERR(mrn_hmm_map(rig.hmm, p, PAGE(1), PROT_EXEC), -EINVAL);
	/* Alloc. */
	CHECK_ERR(mrn_hmm_alloc(NULL, PAGE(1), RW, 0, &at), -EINVAL);
	CHECK_ERR(mrn_hmm_alloc(rig.hmm, 0, RW, 0, &at), -EINVAL);
	CHECK_ERR(mrn_hmm_alloc(rig.hmm, 1, RW, 0, &at), -EINVAL);
	CHECK_ERR(mrn_hmm_alloc(rig.hmm, PAGE(1), RW | PROT_EXEC, 0, &at), -EINVAL);
	CHECK_ERR(mrn_hmm_alloc(rig.hmm, PAGE(1), RW, 10, &at), -EINVAL);
	CHECK_ERR(mrn_hmm_alloc(rig.hmm, PAGE(1), RW, 0, NULL), -EINVAL);
	CHECK_ERR(mrn_hmm_alloc(rig.hmm, (size_t)0 - PAGE(1), RW, 0, &at), -ENOMEM);
	CHECK_ERR(mrn_hmm_alloc(rig.hmm, (size_t)1 << 50, RW, 0, &at), -ENOMEM);
	CHECK(at == &at);
	/* Move onto itself. */
	CHECK_ERR(mrn_hmm_move(rig.hmm, p, p, PAGE(1)), -EINVAL);
	CHECK_ERR(mrn_hmm_move(rig.hmm, p, p + PAGE(1), PAGE(2)), -EINVAL);
	CHECK_ERR(mrn_hmm_move(rig.hmm, p + PAGE(1), p, PAGE(2)), -EINVAL);
	/* Where results go. */
	CHECK_ERR(mrn_hmm_pin(rig.hmm, p, PAGE(1), true, NULL), -EINVAL);
	CHECK_ERR(mrn_hmm_soft_dirty(rig.hmm, p, PAGE(1), NULL), -EINVAL);
	CHECK_ERR(mrn_hmm_make_exclusive(rig.hmm, p, PAGE(1), lender, NULL), -EINVAL);
	CHECK_ERR(mrn_hmm_make_exclusive(rig.hmm, p, PAGE(1), NULL, pfns), -EINVAL);
	/* Devices. */
	CHECK_ERR(mrn_hmm_device_add(NULL, &odd), -EINVAL);
	CHECK_ERR(mrn_hmm_device_add(rig.hmm, NULL), -EINVAL);
	CHECK_ERR(mrn_hmm_device_add(rig.hmm, &odd), -EINVAL);
	odd.pages = 4;
	CHECK_ERR(mrn_hmm_device_add(rig.hmm, &odd), -EINVAL);
	partial.free = NULL;
	odd.ops = &partial;
	CHECK_ERR(mrn_hmm_device_add(rig.hmm, &odd), -EINVAL);
	odd.ops = &test_device_ops;
	odd.pages = UINT64_MAX;
	CHECK_ERR(mrn_hmm_device_add(rig.hmm, &odd), -ENOSPC);
	CHECK_ERR(mrn_hmm_device_remove(rig.hmm, &odd), -ENOENT);
	CHECK_ERR(mrn_hmm_device_remove(rig.hmm, NULL), -ENOENT);
	CHECK_ERR(mrn_hmm_migrate_to_device(rig.hmm, &odd, p, PAGE(1), NULL), -ENOENT);
	CHECK_ERR(mrn_hmm_migrate_to_device(rig.hmm, NULL, p, PAGE(1), NULL), -ENOENT);
	CHECK(!mrn_hmm_device_page(&odd, 5, &page));
	expect_none(&rig);
	check_pages(p, 8, 1);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

TEST(create_says_what_is_wrong)
{
	struct mrn_hmm *hmm = NULL;
	char why[200] = "";
	struct mrn_hmm_opts o = {.size = sizeof(o), .why = why, .why_size = sizeof(why)};

	CHECK_ERR(mrn_hmm_create(NULL, NULL), -EINVAL);
	o.size = sizeof(o) - 1;
	CHECK_ERR(mrn_hmm_create(&o, &hmm), -EINVAL);
	o.size = sizeof(o);
	o.frames = UINT64_MAX;
	CHECK_ERR(mrn_hmm_create(&o, &hmm), -EINVAL);
	CHECK(strstr(why, "frames"));
	o.frames = 8;
	o.handlers = 1000;
	CHECK_ERR(mrn_hmm_create(&o, &hmm), -EINVAL);
	CHECK(strstr(why, "handlers"));
	o.handlers = 64;
	o.quarantine = 8;
	CHECK_ERR(mrn_hmm_create(&o, &hmm), -EINVAL);
	CHECK(strstr(why, "quarantine"));
	CHECK(!hmm);
	/* As many handlers as there may be; and the defaults. */
	o.quarantine = 0;
	for (int i = 0; i < 2; i++) {
		int err = mrn_hmm_create(i ? NULL : &o, &hmm);

		if (err == -EPERM || err == -ENOSYS || err == -EOPNOTSUPP)
			SKIP("%s", why);
		CHECK_ERR(err, 0);
		CHECK(mrn_hmm_mm(hmm));
		CHECK(mrn_hmm_why(hmm));
		CHECK_EQ(mrn_hmm_frame(hmm, 8) != NULL, i);
		CHECK_ERR(mrn_hmm_destroy(hmm), 0);
	}
}

static struct call callback_call;

static void call_from_callback(struct hmm_rig *rig, const struct hmm_event *e)
{
	struct mrn_hmm_device d = {.ops = &test_device_ops, .pages = 1};
	void *at;

	for (size_t i = 0; i < NR_CALLS; i++)
		CHECK_MSG(calls[i].run(rig, change_at, PAGE(1)) == -EDEADLK, "%s", calls[i].name);
	CHECK_ERR(mrn_hmm_alloc(rig->hmm, PAGE(1), RW, 0, &at), -EDEADLK);
	CHECK_ERR(mrn_hmm_free(rig->hmm, change_at), -EDEADLK);
	CHECK_ERR(mrn_hmm_device_add(rig->hmm, &d), -EDEADLK);
	CHECK_ERR(mrn_hmm_device_remove(rig->hmm, &device.dev), -EDEADLK);
	CHECK_ERR(mrn_hmm_destroy(rig->hmm), -EDEADLK);
	/* These may be called. */
	CHECK(mrn_hmm_frame(rig->hmm, 0));
	mrn_hmm_set_dirty(rig->hmm, page_at(rig, change_at).home);
	callback_call.name = "done";
}

TEST(callbacks_are_turned_away)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 8, RW);

	device_init(&device, &rig, 16);
	fill_pages(p, 8, 1);
	change_at = p;
	elsewhere = p + PAGE(4);
	rig.log.hook = call_from_callback;
	CHECK_ERR(run_protect(&rig, p, 8), 0);
	rig.log.hook = NULL;
	CHECK(callback_call.name);
	expect(&rig, MMU_NOTIFY_PROTECTION_VMA, p, 8, NULL);
	check_pages(p, 8, 1);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

/* Unpinning is for callbacks: the last pin, too. */
static uint64_t unpin_inside;

static void unpin_from_callback(struct hmm_rig *rig, const struct hmm_event *e)
{
	if (!e->is_end)
		mrn_hmm_unpin(rig->hmm, &unpin_inside, 1, true);
}

TEST(callback_may_unpin)
{
	HMM_RIG(rig, .frames = 64, .quarantine = 4);
	char *p = region(&rig, 1, RW);

	for (int i = 0; i < 2; i++) {
		fill_pages(p, 1, 1);
		CHECK_EQ(mrn_hmm_pin(rig.hmm, p, PAGE(1), true, &unpin_inside), 1);
		rig.log.hook = unpin_from_callback;
		if (i == 0)
			CHECK_EQ(run_reclaim(&rig, p, 1), 1);
		else
			CHECK_ERR(run_discard(&rig, p, 1), 0);
		rig.log.hook = NULL;
		CHECK_EQ(stats_of(&rig).frames_used, 0);
		if (i == 0)
			check_page(p, 0, 1);
	}
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}
