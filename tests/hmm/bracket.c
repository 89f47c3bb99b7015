/* SPDX-License-Identifier: BSD-3-Clause */
/* Every change of managed memory is announced around it. */
#include "tests/hmm/changes.h"

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
