/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "os/container_of.h"
#include "os/peek.h"
#include "coverage/probe/probe.h"

/* Another thread's malloc may interfere, but not each time. */
#define TRIES	   20
#define PATIENCE_S 5

struct listener {
	struct mmu_range_notifier mrn; /* first */
	struct mmu_notifier list;
	const struct cause_place *place;
	bool listening;
	bool before; /* told while the pages were unchanged */
	bool late;   /* told afterwards */
	bool until;  /* the end of what was told before came after the change */
};

/* Looks at the middle, which every change takes. Whole 'A' pages are what was prepared. */
static bool is_unchanged(const struct cause_place *place)
{
	char byte = 0;

	return mrn_peek(&byte, (uintptr_t)place->addr + place->length / 2, 1) == 0 && byte == 'A';
}

static bool told(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		 uint64_t seq)
{
	struct listener *l = (struct listener *)mrn;

	mmu_range_notifier_update_seq(mrn, seq);
	if (!__atomic_load_n(&l->listening, __ATOMIC_ACQUIRE))
		return true;
	if (!(range->flags & MRN_RANGE_AFTER) && is_unchanged(l->place))
		__atomic_store_n(&l->before, true, __ATOMIC_RELEASE);
	else
		__atomic_store_n(&l->late, true, __ATOMIC_RELEASE);
	return true;
}

/* If a cause leaves the page unchanged, its end cannot be seen. */
static void ended(struct mmu_notifier *list, const struct mmu_notifier_range *range)
{
	struct listener *l = container_of(list, struct listener, list);
	const uintptr_t middle = (uintptr_t)l->place->addr + l->place->length / 2;

	if (!__atomic_load_n(&l->listening, __ATOMIC_ACQUIRE) || range->start > middle ||
	    range->end <= middle)
		return;
	if (l->place->cause->keeps_page || !is_unchanged(l->place))
		__atomic_store_n(&l->until, true, __ATOMIC_RELEASE);
}

static int started(struct mmu_notifier *list, const struct mmu_notifier_range *range)
{
	(void)list;
	(void)range;
	return 0;
}

static const struct mmu_range_notifier_ops told_ops = {.invalidate = told};
static const struct mmu_notifier_ops list_ops = {
	.invalidate_range_start = started,
	.invalidate_range_end = ended,
};

static int arm(const struct probe *p, const struct cause_place *place)
{
	int r;

	while ((r = mrn_source_arm(p->source, (uintptr_t)place->addr, place->length, p->need)) ==
	       -EAGAIN)
		sched_yield();
	return r;
}

/* From here on a look-up would notice. */
static void settle(struct listener *l)
{
	struct timespec deadline;
	uint64_t seq;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += PATIENCE_S;
	mrn_range_read_begin_until(&l->mrn, &deadline, &seq);
	__atomic_store_n(&l->listening, false, __ATOMIC_RELEASE);
}

static void judge(struct probe *p, const struct listener *l, int armed, int armed_after)
{
	if (l->before && l->until)
		probe_conclude(p, VERDICT_BRACKETED, "%s", l->place->why);
	else if (armed == MRN_USE_ONCE)
		probe_conclude(p, VERDICT_USE_ONCE, "such memory cannot be watched");
	else if ((l->before || l->late) && armed_after == MRN_USE_ONCE)
		probe_conclude(p, VERDICT_USE_ONCE, "nothing tells when it is over");
	else if (l->before || l->late)
		probe_conclude(p, VERDICT_BEFORE_RETURN, "%s", l->place->why);
	else
		probe_conclude(p, VERDICT_MISSED, "nothing is told%s",
			       p->cause->keeps_page ? "; a pinned page stays, so nothing is stale"
						    : "");
}

/* Reports what keeps the cause from happening here. */
static int fail(struct probe *p, const struct cause_place *place, int r)
{
	if (r != -EAGAIN)
		probe_conclude(p, VERDICT_UNSUPPORTED, "%s",
			       *place->why ? place->why : strerror(-r));
	return r;
}

static int listen_to_change(struct probe *p, struct cause_place *place, struct listener *l)
{
	int armed = arm(p, place), r;

	if (armed < 0)
		return fail(p, place, armed);
	__atomic_store_n(&l->listening, true, __ATOMIC_RELEASE);
	r = cause_change(place);
	settle(l);
	/* Memory that is gone cannot be armed, whatever happened before. */
	if (!r)
		r = cause_refill(place);
	if (r)
		return fail(p, place, r);
	judge(p, l, armed, arm(p, place));
	return 0;
}

static int try_once(struct probe *p)
{
	struct cause_place place;
	struct listener l = {.mrn.ops = &told_ops, .list.ops = &list_ops, .place = &place};
	int r = cause_prepare(p->cause, &place);

	if (r) {
		r = fail(p, &place, r);
		cause_drop(&place);
		return r;
	}
	r = mmu_range_notifier_insert(&l.mrn, (uintptr_t)place.addr, place.length, mrn_mm_self());
	if (!r) {
		r = mmu_notifier_register(&l.list, mrn_mm_self());
		if (!r) {
			r = listen_to_change(p, &place, &l);
			mmu_notifier_unregister(&l.list, mrn_mm_self());
		}
		mrn_source_disarm(p->source, &l.mrn);
		mmu_range_notifier_remove(&l.mrn);
	}
	cause_drop(&place);
	return r;
}

void probe_announcement(struct probe *p)
{
	probe_conclude(p, VERDICT_UNSUPPORTED, "another thread interfered each time");
	for (int i = 0; i < TRIES; i++)
		if (try_once(p) != -EAGAIN)
			return;
}
