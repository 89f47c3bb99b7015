/* SPDX-License-Identifier: BSD-3-Clause */
/* Says why memory is good for one use at a time, and how much is. */
#include <errno.h>
#include <sched.h>
#include <stddef.h>

#include "core/mm.h"
#include "os/opts.h"
#include "source/check.h"
#include "source/state.h"

/* ------------------------------------------------------------------------------------------ the reasons */

#define ONCE(ID, name, sentence) +1
enum {
	ROWS = 0
#include "source/use_once.def"
};
#undef ONCE
_Static_assert(ROWS == (int)MRN_NR_ONCE, "source/use_once.def has a row for each reason");
_Static_assert(MRN_NR_ONCE <= MRN_MAX_ONCE, "arrays have room for each reason");

const char *mrn_once_name(enum mrn_once reason)
{
#define ONCE(ID, name, sentence) [MRN_ONCE_##ID] = #name,
	static const char *const name[MRN_NR_ONCE] = {
#include "source/use_once.def"
	};
#undef ONCE

	return (unsigned int)reason < MRN_NR_ONCE ? name[reason] : "unknown";
}

const char *mrn_once_sentence(enum mrn_once reason)
{
#define ONCE(ID, name, sentence) [MRN_ONCE_##ID] = sentence,
	static const char *const sentence[MRN_NR_ONCE] = {
#include "source/use_once.def"
	};
#undef ONCE

	return (unsigned int)reason < MRN_NR_ONCE ? sentence[reason]
						  : "This version does not know the reason.";
}

/* ------------------------------------------------------------------------------------------ of a range */

/* How often arming may fail because memory is changing. */
#define TRIES 1000

static bool note_change(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			uint64_t cur_seq)
{
	(void)range;
	mmu_range_notifier_update_seq(mrn, cur_seq);
	return true;
}

static const struct mmu_range_notifier_ops asking = {.invalidate = note_change};

static int arm(struct mrn_source *s, struct mmu_range_notifier *mrn, uint64_t need,
	       struct mrn_once_found *f)
{
	const uintptr_t start = mrn->node.start;
	uint64_t seq;
	int r;

	for (int tries = 0; tries < TRIES; tries++) {
		/* Waits for invalidations in progress. */
		r = mrn_range_read_begin_until(mrn, NULL, &seq);
		if (!r)
			r = mrn_source_arm_saying(s, start, mrn->node.end - start, need, f);
		if (r != -EAGAIN)
			return r;
		/* Perhaps the monitor has yet to read the event of a change. */
		sched_yield();
	}
	return -EAGAIN;
}

/*
 * If whoever has discarded the range may still be at it, looks at all threads, and arms again if they are elsewhere. A
 * range that has been discarded meanwhile, too, shows when it is armed.
 */
static int arm_and_look(struct mrn_source *s, struct mmu_range_notifier *mrn, uint64_t need,
			struct mrn_once_found *f, struct mrn_obstacle *obstacle)
{
	int r = arm(s, mrn, need, f);

	if (r != MRN_USE_ONCE || !(f->reasons & MRN_ONCE_BIT(MRN_ONCE_ZAPPED)))
		return r;
	if (mrn_use_once_look_now(&s->uffd.use_once, obstacle))
		r = arm(s, mrn, need, f);
	else
		f->reasons |= MRN_ONCE_BIT(obstacle->reason);
	return r;
}

int mrn_source_why_once(struct mrn_source *s, uintptr_t addr, size_t length, uint64_t need,
			struct mrn_once_why *why, size_t size)
{
	/* As a consumer: what is armed, and found of it, holds only while a notifier is there. */
	struct mmu_range_notifier mrn = {.ops = &asking};
	struct mrn_once_found found = {.all = !MRN_BROKEN(ONCE_FIRST)};
	struct mrn_obstacle obstacle = {0};
	int r = need ? mrn_source_may_wait(s) : -EINVAL, given = 0;

	if (!r)
		r = mmu_range_notifier_insert(&mrn, addr, length, s->mm);
	if (r)
		return r;
	r = MRN_BROKEN(ONCE_UNTRIED) ? 0 : arm_and_look(s, &mrn, need, &found, &obstacle);
	if (!MRN_BROKEN(ONCE_ARMED))
		mrn_source_disarm(s, &mrn);
	mmu_range_notifier_remove(&mrn);
	if (why)
		given = mrn_figures_give(why, size,
					 &(struct mrn_once_why){found.reasons, found.not_covered,
								obstacle.thread},
					 sizeof(*why));
	return given ? given : r;
}

/* ------------------------------------------------------------------------------------------ the figures */

int mrn_source_get_stats(struct mrn_source *s, struct mrn_source_stats *stats, size_t size)
{
	struct mrn_source_stats now = {0};

	if (!s)
		return -EINVAL;
	if (mrn_mm_is_wiped(s->mm))
		return -ESTALE;
	mrn_use_once_count(&s->uffd.use_once, &now);
	for (int i = 0; i < MRN_NR_ONCE; i++)
		now.armed_once_by[i] = __atomic_load_n(&s->once_by[i], __ATOMIC_RELAXED);
	return mrn_figures_give(stats, size, &now, sizeof(now));
}
