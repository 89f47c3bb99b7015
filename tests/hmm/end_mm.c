/* SPDX-License-Identifier: BSD-3-Clause */
/* The mm ends before its space. */
#include "hmm/end.h"
#include "tests/hmm/fixture.h"

static unsigned int releases;
static struct hmm_test_device device;

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	mmu_range_notifier_update_seq(mrn, cur_seq);
	releases += range->event == MMU_NOTIFY_RELEASE;
	return true;
}

TEST(a_space_whose_mm_has_ended_refuses_devices_and_keeps_its_memory)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};
	struct mmu_range_notifier mrn = {.ops = &ops}, late = {.ops = &ops};
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 2, RW);
	struct mrn_mm *mm = mrn_hmm_mm(rig.hmm);
	unsigned long pfns[2] = {0};
	struct hmm_range range = {
		.notifier = &mrn,
		.start = (uintptr_t)p,
		.end = (uintptr_t)p + PAGE(2),
		.hmm_pfns = pfns,
		.default_flags = HMM_PFN_REQ_FAULT,
	};
	uint64_t frame;

	device_init(&device, &rig, 4);
	CHECK_ERR(mmu_range_notifier_insert(&mrn, (uintptr_t)p, PAGE(2), mm), 0);
	p[0] = 1;
	range.notifier_seq = mmu_range_read_begin(&mrn);
	CHECK_ERR(hmm_range_fault(&range), 0);
	CHECK_ERR(mrn_hmm_end_mm(rig.hmm), 0);
	CHECK_EQ(releases, 1);
	CHECK(mmu_range_read_retry(&mrn, range.notifier_seq));
	CHECK_ERR(hmm_range_fault(&range), -ESRCH);
	CHECK_ERR((int)mrn_hmm_pin(rig.hmm, p, PAGE(1), true, &frame), -ESRCH);
	CHECK_ERR((int)mrn_hmm_make_exclusive(rig.hmm, p, PAGE(1), &rig, pfns), -ESRCH);
	CHECK_ERR((int)mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p, PAGE(1), NULL), -ESRCH);
	CHECK_ERR(mmu_range_notifier_insert(&late, (uintptr_t)p, PAGE(2), mm), -ESRCH);
	CHECK_ERR(mrn_hmm_end_mm(rig.hmm), -ESRCH);
	CHECK_EQ(p[0], 1);
	CHECK_ERR(mrn_hmm_discard(rig.hmm, p, PAGE(2)), 0);
	CHECK_EQ(p[0], 0);
	mmu_range_notifier_remove(&mrn);
}
