/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/mark.h"

#include "check/shared/check.h"
#include "os/container_of.h"
#include "watch/record/open.h"

#include "os/event_path.h"

static struct check_pool pool = CHECK_POOL(struct check_mark, pooled);
/* So that most ends need not look. An end comes after its own start, and so sees what that has added. */
static uint32_t open;

static void settle(struct watch_open *o, const struct mmu_notifier_range *range,
		   enum check_ending ending)
{
	uint32_t number = o->marks;

	o->marks = 0;
	while (number) {
		struct check_mark *m =
			container_of(check_pool_at(&pool, number), struct check_mark, pooled);

		number = m->next;
		m->settle(m, range, ending);
		check_pool_put(&pool, &m->pooled);
	}
}

/* One that was announced after it had been made has been made. */
static void settle_left(struct watch_open *o)
{
	const struct mmu_notifier_range range = {.event = o->event,
						 .cause = o->cause,
						 .flags = o->flags};

	settle(o, &range,
	       range.flags & MRN_RANGE_AFTER || MRN_BROKEN(CHECK_LEFT) ? CHECK_END_MADE
								       : CHECK_END_LEFT);
}

/* The number tells a token from an earlier one in the same place, which has had no end. */
static struct watch_open *place_of(const struct mmu_notifier_range *range)
{
	bool cut_off;
	struct watch_open *o = watch_open_find(range);

	if (o && o->seq == range->seq)
		return o;
	o = watch_open_take(range, &cut_off);
	if (!o)
		return NULL;
	if (cut_off)
		settle_left(o);
	else
		__atomic_fetch_add(&open, 1, __ATOMIC_RELAXED);
	o->marks = 0;
	o->seq = range->seq;
	o->event = (uint8_t)range->event;
	o->cause = (uint8_t)range->cause;
	o->flags = range->flags;
	return o;
}

void check_mark_add(const struct check_mark *mark, const struct mmu_notifier_range *range)
{
	struct watch_open *o = place_of(range);
	struct check_pooled *pooled = o ? check_pool_get(&pool) : NULL;
	struct check_mark *m;

	if (!pooled) {
		mark->settle(mark, range, CHECK_END_MADE);
		return;
	}
	m = container_of(pooled, struct check_mark, pooled);
	m->settle = mark->settle;
	m->number = mark->number;
	m->state = mark->state;
	m->finding = mark->finding;
	m->start = mark->start;
	m->end = mark->end;
	m->how = mark->how;
	m->pinned = mark->pinned;
	m->was = mark->was;
	m->next = o->marks;
	o->marks = pooled->number;
}

static void end(const struct mmu_notifier_range *range, enum check_ending ending)
{
	struct watch_open *o = __atomic_load_n(&open, __ATOMIC_RELAXED) ? watch_open_find(range)
									: NULL;

	if (!o || o->seq != range->seq)
		return;
	settle(o, range, ending);
	watch_open_free(o);
	__atomic_fetch_sub(&open, 1, __ATOMIC_RELAXED);
}

void check_marks_doubt(const struct mmu_notifier_range *range)
{
	if (!MRN_BROKEN(CHECK_FAILED))
		end(range, CHECK_END_FAILED);
}

void check_marks_end(const struct mmu_notifier_range *range)
{
	end(range, CHECK_END_MADE);
}

void check_marks_restart(void)
{
	open = 0;
	watch_open_restart();
	check_pool_restart(&pool);
}
