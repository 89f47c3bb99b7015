/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/bracket/bracket.h"

#include "source/bracket/check.h"
#include "core/mm.h"
#include "source/interposer.h"
#include "source/observe.h"
#include "source/process.h"

#include "os/event_path.h"

static void announce(struct mmu_notifier_range *token)
{
	if (mmu_notifier_invalidate_range_start(token) == 0)
		mmu_notifier_invalidate_range_end(token);
}

/*
 * For a wrapper: true if dispatch will catch the call and announce it. Dispatch does not catch every thread in this
 * memory, so this asks about the calling thread.
 */
static inline bool is_dispatchs(void)
{
	return __builtin_expect(mrn_source_process_is_dispatched(), 0) && mrn_is_to_be_caught();
}

/* True if memory goes. After exec nothing is left of which anything could be known. */
static bool is_change(const struct mmu_notifier_range *token)
{
	return (token->event == MMU_NOTIFY_UNMAP || token->event == MMU_NOTIFY_CLEAR) &&
	       token->cause != MRN_CAUSE_EXEC && !MRN_BROKEN(BRACKET_CHANGING);
}

bool mrn_bracket_start(struct mmu_notifier_range *token, enum mmu_notifier_event event,
		       enum mrn_cause cause, unsigned int flags, uintptr_t start, uintptr_t end)
{
	struct mrn_mm *mm = mrn_mm_self();

	if (!mm || is_dispatchs())
		return false;
	mmu_notifier_range_init(token, event, flags, mm, mrn_page_down(start), mrn_page_up(end));
	token->cause = cause;
	if (MRN_BROKEN(BRACKET_PRE_ONLY)) {
		announce(token);
		return false;
	}
	if (!MRN_BROKEN(BRACKET_POST_ONLY) && mmu_notifier_invalidate_range_start(token) != 0)
		return false;
	if (is_change(token))
		mrn_source_changing(token->start, token->end);
	return true;
}

static void withdraw(struct mmu_notifier_range *token, bool failed)
{
	if (failed && !MRN_BROKEN(BRACKET_FAILED))
		mrn_observer_doubts(token);
	mmu_notifier_invalidate_range_end(token);
}

void mrn_bracket_withdraw(struct mmu_notifier_range *token, bool failed)
{
	if (MRN_BROKEN(BRACKET_POST_ONLY))
		announce(token);
	else
		withdraw(token, failed);
}

void mrn_bracket_add(struct mrn_bracket *b, enum mmu_notifier_event event, enum mrn_cause cause,
		     uintptr_t start, uintptr_t end)
{
	if (mrn_bracket_start(&b->token[b->nr], event, cause, 0, start, end))
		b->nr++;
}

void mrn_bracket_add_cleared(struct mrn_bracket *b, enum mrn_cause cause, unsigned int flags,
			     uintptr_t start, uintptr_t end)
{
	if (mrn_bracket_start(&b->token[b->nr], MMU_NOTIFY_CLEAR, cause, flags, start, end))
		b->nr++;
}

bool mrn_bracket_is_anothers(void)
{
	return !mrn_mm_self() || is_dispatchs();
}

bool mrn_bracket_tells_nobody(void)
{
	struct mrn_mm *mm = mrn_mm_self();

	return !mm || (!mrn_list_is_used(mm) && !mrn_source_watches(0, UINTPTR_MAX) &&
		       !mrn_source_remembers());
}

bool mrn_bracket_needs_no_look(struct mrn_bracket *b, enum mmu_notifier_event event,
			       enum mrn_cause cause)
{
	if (mrn_bracket_is_anothers())
		return true;
	if (!mrn_bracket_tells_nobody() || MRN_BROKEN(BRACKET_LOOKS))
		return false;
	mrn_bracket_add_everything(b, event, cause);
	return true;
}

void mrn_bracket_end(struct mrn_bracket *b, bool failed)
{
	while (b->nr)
		mrn_bracket_withdraw(&b->token[--b->nr], failed);
}

void mrn_bracket_late(enum mmu_notifier_event event, enum mrn_cause cause, uintptr_t start,
		      uintptr_t end, bool failed)
{
	struct mmu_notifier_range token;
	struct mrn_mm *mm = mrn_mm_self();

	if (!mm || is_dispatchs())
		return;
	mmu_notifier_range_init(&token, event, MRN_RANGE_AFTER, mm, mrn_page_down(start),
				mrn_page_up(end));
	token.cause = cause;
	if (mmu_notifier_invalidate_range_start(&token) == 0)
		withdraw(&token, failed);
}

void mrn_bracket_fresh(uintptr_t start, uintptr_t end)
{
	if (MRN_BROKEN(BRACKET_FRESH))
		return;
	/* A change that nobody has been told of yet made room for it: something may be known of what was there. */
	mrn_source_changing(start, end);
	if (mrn_source_watches(start, end))
		mrn_bracket_late(MMU_NOTIFY_UNMAP, MRN_CAUSE_UNKNOWN, start, end, false);
}
