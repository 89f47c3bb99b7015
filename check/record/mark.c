/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/mark.h"

#include "check/shared/check.h"
#include "os/container_of.h"
#include "watch/record/open.h"

#include "os/event_path.h"

static struct check_pool pool = CHECK_POOL(struct check_mark, pooled);
/* So that most ends need not look. An end comes after its own start, and so sees what that has added. */
static uint32_t open;

static void settle(struct watch_open *o, const struct mmu_notifier_range *range, bool doubtful)
{
	uint32_t number = o->marks;

	o->marks = 0;
	while (number) {
		struct check_mark *m =
			container_of(check_pool_at(&pool, number), struct check_mark, pooled);

		number = m->next;
		m->settle(m, range, doubtful);
		check_pool_put(&pool, &m->pooled);
	}
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
		settle(o, NULL, false);
	else
		__atomic_fetch_add(&open, 1, __ATOMIC_RELAXED);
	o->marks = 0;
	o->seq = range->seq;
	return o;
}

void check_mark_add(const struct check_mark *mark, const struct mmu_notifier_range *range)
{
	struct watch_open *o = place_of(range);
	struct check_pooled *pooled = o ? check_pool_get(&pool) : NULL;
	struct check_mark *m;

	if (!pooled) {
		mark->settle(mark, range, false);
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
	m->next = o->marks;
	o->marks = pooled->number;
}

static void end(const struct mmu_notifier_range *range, bool doubtful)
{
	struct watch_open *o = __atomic_load_n(&open, __ATOMIC_RELAXED) ? watch_open_find(range)
									: NULL;

	if (!o || o->seq != range->seq)
		return;
	settle(o, range, doubtful);
	watch_open_free(o);
	__atomic_fetch_sub(&open, 1, __ATOMIC_RELAXED);
}

void check_marks_doubt(const struct mmu_notifier_range *range)
{
	if (!MRN_BROKEN(CHECK_FAILED))
		end(range, true);
}

void check_marks_end(const struct mmu_notifier_range *range)
{
	end(range, false);
}

void check_marks_restart(void)
{
	open = 0;
	watch_open_restart();
	check_pool_restart(&pool);
}
