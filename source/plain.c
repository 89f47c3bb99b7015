/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/plain.h"

#include "core/slot.h"
#include "os/atomic.h"
#include "os/thread.h"
#include "source/check.h"
#include "source/files.h"

#include "os/event_path.h"

bool mrn_plain_shows_page_cache(struct mrn_plain *p, struct mrn_mm *mm, uintptr_t start,
				uintptr_t end)
{
	mrn_sigmask mask;
	bool shows, steady;

	if (mrn_marks_all(&p->marks, start, end, MRN_MARK_SURE))
		return false;
	if (!mrn_marks_make(&p->marks, start, end))
		return mrn_shows_page_cache(start, end);
	mask = mrn_signals_block();
	mrn_mutex_lock(&p->lock);
	mrn_marks_set(&p->marks, start, end, MRN_MARK_MAYBE);
	mrn_fence_full();
	steady = !mrn_tokens_overlap(mm, start, end) || MRN_BROKEN(PLAIN_STEADY);
	shows = mrn_shows_page_cache(start, end);
	MRN_HOOK(plain_look);
	if (steady && !shows)
		mrn_marks_set(&p->marks, start, end, MRN_MARK_SURE);
	mrn_mutex_unlock(&p->lock);
	mrn_signals_restore(mask);
	return shows;
}

void mrn_plain_forget(struct mrn_plain *p, uintptr_t start, uintptr_t end)
{
	mrn_sigmask mask;

	if (!mrn_marks_has(&p->marks, start, end, MRN_MARK_MAYBE) || MRN_BROKEN(PLAIN_FORGET))
		return;
	mask = mrn_signals_block();
	mrn_mutex_lock(&p->lock);
	mrn_marks_clear(&p->marks, start, end, MRN_MARK_SURE);
	mrn_marks_clear(&p->marks, start, end, MRN_MARK_MAYBE);
	mrn_mutex_unlock(&p->lock);
	mrn_signals_restore(mask);
}
