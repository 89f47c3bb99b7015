/* SPDX-License-Identifier: BSD-3-Clause */
/* A device's own memory, and pages that are lent to it. */
#include "tests/hmm/changes.h"

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
	CHECK(!mrn_hmm_frame(rig.hmm, mrn_hmm_pfn_to_frame(pfns[6])));
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
