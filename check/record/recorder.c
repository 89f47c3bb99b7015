/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libmrn-check: preloaded into a program by `mrn check`, together with libmrn-interpose. Follows processes as
 * libmrn-watch does, but keeps what it finds instead of what happens.
 */
#include <mrn/mmu_notifier.h>
#include <mrn/source.h>

#include "check/record/interfaces.h"
#include "check/record/flight.h"
#include "check/record/mark.h"
#include "check/record/registration.h"
#include "os/pages.h"
#include "watch/record/exec_plan.h"
#include "watch/record/images.h"
#include "watch/record/lane.h"
#include "watch/record/modules.h"
#include "watch/record/recorder.h"
#include "watch/record/vdso_clock.h"

#include "os/event_path.h"

static int start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct watch_record r = {0};

	watch_clock_look(range);
	/* Its unwind table may be unreadable from here on. */
	if (range->event == MMU_NOTIFY_PROTECTION_VMA)
		watch_images_unmapped(range->start, range->end);
	if (range->cause == MRN_CAUSE_EXEC) {
		r.begin = watch_now_ns();
		watch_lane_executes(range, &r, watch_exec_is_told());
	}
	check_flight_changed(range);
	return 0;
}

static void end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	if (range->event == MMU_NOTIFY_UNMAP)
		watch_modules_unmapped(range->start, range->end, watch_now_ns());
	if (range->cause == MRN_CAUSE_EXEC)
		watch_lane_stays(range);
	check_marks_end(range);
}

static const struct mmu_notifier_ops ops = {
	.invalidate_range_start = start,
	.invalidate_range_end = end,
};
static struct mmu_notifier notifier = {.ops = &ops};

/* From now on less is seen than before; the tool says so. */
static void lost(struct mrn_source_loss *loss, uint64_t causes)
{
	__atomic_store_n(&watch_recorder_header()->lost, 1, __ATOMIC_RELAXED);
	watch_modules_may_leave(true);
}

int watch_recorder_watch_loss(struct mrn_source *source)
{
	static struct mrn_source_loss loss;

	loss = (struct mrn_source_loss){.lost = lost};
	return mrn_source_watch_loss(source, &loss);
}

int watch_recorder_start(void)
{
	uint64_t now = watch_now_ns();
	int r = watch_lane_take(now);

	if (r)
		return r;
	mrn_pages_keep();
	watch_modules_look(now);
	r = mmu_notifier_register(&notifier, mrn_mm_self());
	return r ? r : check_interfaces_start();
}

void watch_recorder_forget(void)
{
	check_interfaces_restart();
	check_marks_restart();
	check_flight_restart();
	check_reg_restart();
	watch_lane_leave();
	watch_modules_restart();
	mmu_notifier_unregister(&notifier, notifier.mm);
	notifier = (struct mmu_notifier){.ops = &ops};
}
