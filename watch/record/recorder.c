/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libmrn-watch: preloaded into a program by `mrn watch`, together with libmrn-interpose. A list notifier on the
 * program's own mm is told of every invalidation, and its start and end become one record in the log.
 *
 * The callbacks run inside some thread's munmap or free: no allocation, no stdio, no lock, errno kept, re-entrant,
 * bounded.
 */
#include <mrn/mmu_notifier.h>
#include <mrn/source.h>

#include "watch/record/exec_plan.h"
#include "watch/record/vdso_clock.h"
#include "watch/record/caller.h"
#include "watch/record/lane.h"
#include "watch/record/modules.h"
#include "watch/record/open.h"
#include "watch/record/recorder.h"
#include "watch/record/tid.h"

#include "os/event_path.h"

/* All but its end. */
static struct watch_record record_of(const struct watch_open *o,
				     const struct mmu_notifier_range *range)
{
	return (struct watch_record){
		.begin = o->begin,
		.start = range->start,
		.stop = range->end,
		.site = o->site,
		.via = o->via,
		.pid = watch_lane_pid(),
		.tid = watch_thread_number(),
		.flags = (uint16_t)range->flags,
		.event = (uint8_t)range->event,
		.cause = (uint8_t)range->cause,
	};
}

static int start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct watch_lane *lane = watch_lane_mine();
	struct watch_record r;
	struct watch_open *o;
	bool cut_off;

	/*
	 * Skips also DETACH, which a source announces to be safe while a vfork's child has this memory: nothing has
	 * changed.
	 */
	if (!lane || range->cause == MRN_CAUSE_DETACH)
		return 0;
	o = watch_open_take(range, &cut_off);
	if (!o || cut_off)
		__atomic_fetch_add(&lane->unpaired, 1, __ATOMIC_RELAXED);
	if (!o)
		return 0;
	watch_caller_find(&o->site, &o->via);
	watch_clock_look(range);
	o->begin = watch_now_ns();
	watch_modules_need(o->site, o->begin);
	if (range->cause == MRN_CAUSE_EXEC) {
		r = record_of(o, range);
		watch_lane_executes(range, &r, watch_exec_is_told());
	}
	return 0;
}

static void end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct watch_open *o = watch_open_find(range);
	struct watch_record r;

	if (!o)
		return;
	r = record_of(o, range);
	r.end = watch_now_ns();
	watch_open_free(o);
	if (range->event == MMU_NOTIFY_UNMAP)
		watch_modules_unmapped(r.start, r.stop, r.end);
	if (range->cause == MRN_CAUSE_EXEC)
		watch_lane_stays(range);
	watch_lane_put(&r);
}

static const struct mmu_notifier_ops ops = {
	.invalidate_range_start = start,
	.invalidate_range_end = end,
};
static struct mmu_notifier notifier = {.ops = &ops};

/* From now on less is seen than before: recorded in its place among the events. On the event path. */
static void lost(struct mrn_source_loss *loss, uint64_t causes)
{
	const struct watch_record r = {
		.begin = watch_now_ns(),
		.end = watch_now_ns(),
		.stop = UINT64_MAX,
		.pid = watch_lane_pid(),
		.tid = watch_thread_number(),
		.event = MMU_NOTIFY_CLEAR,
		.cause = MRN_CAUSE_DETACH,
	};

	watch_lane_put(&r);
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
	watch_modules_look(now);
	return mmu_notifier_register(&notifier, mrn_mm_self());
}

void watch_recorder_forget(void)
{
	watch_lane_leave();
	watch_open_restart();
	watch_modules_restart();
	mmu_notifier_unregister(&notifier, notifier.mm);
	notifier = (struct mmu_notifier){.ops = &ops};
}
