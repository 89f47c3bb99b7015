/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/plain.h"

#include "core/slot.h"
#include "os/atomic.h"
#include "source/check.h"
#include "source/dispatch/dispatch.h"
#include "source/files.h"

#include "os/event_path.h"

static void forget(struct mrn_plain *p, uintptr_t start, uintptr_t end)
{
	mrn_marks_clear(&p->marks, start, end, MRN_MARK_SURE);
	mrn_marks_clear(&p->marks, start, end, MRN_MARK_MAYBE);
}

/* What was noted before a guest came, which may have changed it since. */
static void forget_before(struct mrn_plain *p, uint32_t guests)
{
	if (p->guests != guests)
		forget(p, 0, UINTPTR_MAX);
	__atomic_store_n(&p->guests, guests, __ATOMIC_RELEASE);
}

/* True if nobody may be changing the range. Asked after how many guests there have ever been: guests.c. */
static bool is_steady(struct mrn_mm *mm, uintptr_t start, uintptr_t end)
{
	return (!mrn_tokens_overlap(mm, start, end) || MRN_BROKEN(PLAIN_STEADY)) &&
	       (!mrn_dispatch_has_guests() || MRN_BROKEN(PLAIN_GUESTS));
}

bool mrn_plain_shows_page_cache(struct mrn_plain *p, struct mrn_mm *mm, uintptr_t start,
				uintptr_t end)
{
	const uint32_t guests = mrn_dispatch_guests_ever();
	mrn_sigmask mask;
	bool shows, steady, whole;

	/* In this order: once a token over a change is withdrawn, what had changed is not sure any more. */
	if (__atomic_load_n(&p->guests, __ATOMIC_ACQUIRE) == guests &&
	    !mrn_tokens_overlap(mm, start, end) && mrn_marks_known(&p->marks, start, end))
		return false;
	mask = mrn_mutex_lock_masked(&p->lock);
	forget_before(p, guests);
	steady = mrn_marks_make(&p->marks, start, end);
	if (steady) {
		if (!MRN_BROKEN(PLAIN_AGAIN))
			mrn_marks_clear(&p->marks, start, end, MRN_MARK_SURE);
		mrn_marks_set(&p->marks, start, end, MRN_MARK_MAYBE);
		__atomic_store_n(&p->any, true, __ATOMIC_RELAXED);
		mrn_fence_full();
		steady = is_steady(mm, start, end);
	}
	shows = mrn_shows_page_cache_in(start, end, &whole);
	MRN_HOOK(plain_look);
	/* A file may come into a hole without a change of anything. */
	if (steady && !shows && (whole || MRN_BROKEN(PLAIN_HOLES)))
		mrn_marks_set(&p->marks, start, end, MRN_MARK_SURE);
	mrn_mutex_unlock_masked(&p->lock, mask);
	return shows;
}

void mrn_plain_forget(struct mrn_plain *p, uintptr_t start, uintptr_t end)
{
	if (!MRN_BROKEN(PLAIN_FORGET))
		mrn_marks_clear(&p->marks, start, end, MRN_MARK_MAYBE);
}

void mrn_plain_forget_all(struct mrn_plain *p)
{
	mrn_sigmask mask = mrn_mutex_lock_masked(&p->lock);

	forget(p, 0, UINTPTR_MAX);
	__atomic_store_n(&p->any, false, __ATOMIC_RELAXED);
	mrn_mutex_unlock_masked(&p->lock, mask);
}
