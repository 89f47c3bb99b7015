/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/passes.h"

#include <stddef.h>

#include "os/callback.h"

#include "os/event_path.h"

static void pay_first(struct mrn_owed *owed, struct mrn_mm *mm)
{
	struct mmu_range_notifier_finish *finish = owed->first;
	struct mmu_range_notifier *mrn = finish->notifier;

	/* Before the call: as soon as the consumer has taken it back, another start may be handed it. */
	owed->first = finish->next;
	MRN_CALLBACK(mrn->ops->invalidate_finish(finish));
	if (MRN_BROKEN(A1_FINISH_NEXT))
		owed->first = finish->next;
	if (!MRN_BROKEN(A5_FINISH_PIN))
		mrn_passes_are_over(owed, mm, mrn);
}

void mrn_pay(struct mrn_owed *owed, struct mrn_mm *mm)
{
	while (owed->first && (!mrn_mm_is_wiped(mm) || MRN_BROKEN(FORK_FINISH)))
		pay_first(owed, mm);
	owed->end = &owed->first;
}

static bool is_owed(const struct mrn_owed *owed, const struct mmu_range_notifier_finish *finish)
{
	const struct mmu_range_notifier_finish *f = owed->first;

	while (f && f != finish)
		f = f->next;
	return f;
}

void mrn_owe(struct mrn_owed *owed, struct mrn_mm *mm, struct mmu_range_notifier *mrn,
	     struct mmu_range_notifier_finish *finish)
{
	MRN_MISUSE_IF(MRN_CHECKS && is_owed(owed, finish),
		      "mmu_range_notifier_ops.invalidate_start",
		      "handed out a finish that is in use");
	finish->notifier = mrn;
	finish->next = NULL;
	*owed->end = finish;
	owed->end = &finish->next;
	if (MRN_BROKEN(A5_FINISH_PIN))
		mrn_passes_are_over(owed, mm, mrn);
}

void mrn_owe_watcher(struct mrn_owed *owed, struct mrn_mm *mm, struct mmu_range_notifier *mrn)
{
	const struct mrn_watcher *w = mrn_watcher_of(mm);

	if (!w)
		return;
	w->changes(mrn, mm);
	if (mrn->node.start < owed->watched_start)
		owed->watched_start = mrn->node.start;
	if (mrn->node.end > owed->watched_end)
		owed->watched_end = mrn->node.end;
}

void mrn_tell_watcher(const struct mrn_owed *owed, struct mrn_mm *mm,
		      const struct mmu_notifier_range *range)
{
	const struct mrn_watcher *w = mrn_watcher_of(mm);

	if (w)
		w->changed(mm, range, owed->watched_start, owed->watched_end);
}

void mrn_call_both_passes(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range)
{
	struct mmu_range_notifier_finish *finish = NULL;

	MRN_CALLBACK(mrn_call_invalidate(mrn, range, &finish));
	if (finish) {
		finish->notifier = mrn;
		MRN_CALLBACK(mrn->ops->invalidate_finish(finish));
	}
}
