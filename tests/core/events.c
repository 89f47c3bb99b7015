/* SPDX-License-Identifier: BSD-3-Clause */
/* What a callback is told, and the mask by which a notifier says what it wants to be told of. */
#include "tests/core/fixture.h"

enum { EVENTS = MMU_NOTIFY_EXCLUSIVE + 1 };

static void announce(struct mrn_mm *mm, enum mmu_notifier_event event)
{
	struct mmu_notifier_range r;

	mmu_notifier_range_init(&r, event, 0, mm, PAGE(4), PAGE(5));
	start(&r);
	end(&r);
}

TEST(events_mask_of_a_range_notifier)
{
	struct mrn_mm *mm = new_mm();

	/* Every single event, every one but one, all, and 0, which means all. */
	for (unsigned int i = 0; i < 2 * EVENTS + 2; i++) {
		unsigned int all = (1u << EVENTS) - 1, mask = i < EVENTS ? 1u << i : 0;
		struct consumer c;

		if (i >= EVENTS && i < 2 * EVENTS)
			mask = all & ~(1u << (i - EVENTS));
		else if (i == 2 * EVENTS)
			mask = all;
		consumer_init(&c);
		c.mrn.events = mask;
		consumer_insert(&c, mm, 4, 8);
		for (int event = 0; event < EVENTS; event++) {
			unsigned int before = c.calls;
			bool wanted = !mask || mask & (1u << event) || event == MMU_NOTIFY_RELEASE;

			announce(mm, (enum mmu_notifier_event)event);
			CHECK_EQ(c.calls - before, wanted);
			if (wanted)
				CHECK_EQ(c.last.event, event);
		}
		consumer_check_works(&c);
		consumer_remove(&c);
	}
	destroy_idle(mm);
}

static struct mmu_notifier_range listed;

static int keep(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	listed = *range;
	return 0;
}

TEST(events_what_is_announced_passes_through)
{
	static const struct mmu_notifier_ops ops = {.invalidate_range_start = keep};
	struct mmu_notifier mn = {.ops = &ops};
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range r;
	struct consumer c;
	int device;

	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	CHECK_ERR(mmu_notifier_register(&mn, mm), 0);
	for (int after = 0; after < 2; after++) {
		mmu_notifier_range_init(&r, MMU_NOTIFY_MIGRATE, after ? MRN_RANGE_AFTER : 0, mm,
					PAGE(4) + 3, PAGE(100) + 5);
		CHECK_EQ(r.cause, MRN_CAUSE_UNKNOWN);
		CHECK(!r.owner);
		r.owner = &device;
		r.cause = MRN_CAUSE_MREMAP_DST;
		start(&r);
		for (int i = 0; i < 2; i++) {
			const struct mmu_notifier_range *told = i ? &c.last : &listed;

			CHECK(told->mm == mm);
			/* The announcer's own bounds, neither rounded nor clamped. */
			CHECK_EQ(told->start, PAGE(4) + 3);
			CHECK_EQ(told->end, PAGE(100) + 5);
			CHECK_EQ(told->event, MMU_NOTIFY_MIGRATE);
			CHECK_EQ(told->cause, MRN_CAUSE_MREMAP_DST);
			CHECK(told->owner == &device);
			CHECK_EQ(told->flags & MRN_RANGE_AFTER, after ? MRN_RANGE_AFTER : 0);
			CHECK(mmu_notifier_range_blockable(told));
		}
		end(&r);
	}
	CHECK_ERR(mmu_notifier_unregister(&mn, mm), 0);
	consumer_remove(&c);
	destroy_idle(mm);
}

TEST(events_causes_have_names_of_their_own)
{
	for (int i = 0; i < MRN_NR_CAUSES; i++) {
		const char *name = mrn_cause_name((enum mrn_cause)i);

		CHECK(name && *name);
		for (int j = 0; j < i; j++)
			CHECK(strcmp(name, mrn_cause_name((enum mrn_cause)j)) != 0);
	}
	CHECK_EQ(strcmp(mrn_cause_name(MRN_CAUSE_MUNMAP), "munmap"), 0);
	CHECK_EQ(strcmp(mrn_cause_name(MRN_NR_CAUSES), "unknown"), 0);
	CHECK_EQ(strcmp(mrn_cause_name((enum mrn_cause) - 1), "unknown"), 0);
	/* One bit each in a mask of 64. */
	CHECK(MRN_NR_CAUSES <= 64);
}
