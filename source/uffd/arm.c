/* SPDX-License-Identifier: BSD-3-Clause */
/* Arms and disarms: source/marks.h has the orders. */
#include <errno.h>
#include <mrn/source.h>
#include <stddef.h>

#include "core/mm.h"
#include "os/atomic.h"
#include "os/check.h"
#include "os/syscall.h"
#include "source/confined.h"
#include "source/uffd/check.h"
#include "source/uffd/uffd.h"
#include "source/watched.h"

#include "os/event_path.h"

/* ------------------------------------------------------------------------------------- by the kernel */

/*
 * arm and disarm: with the lock held, and by our number as long as it is ours. Once it is not, it never is again, since
 * only the keeper's table still has the file; from then on everything goes through the keeper, which costs two context
 * switches.
 *
 * Arming by the program's userfaultfd would be worst: the program would get the events, and might sleep for them. So
 * arm checks first. Between the check and the call, the number can become a userfaultfd only by a dup2 at just that
 * moment, since the kernel gives out the lowest free number. Any other file fails the call. Another process's page map
 * could answer for ours; it decides only whether there is a hole, or a page of a file.
 *
 * disarm is on the event path, where a check costs the caller time, and fcntl in a sandbox perhaps its life. Another
 * userfaultfd cannot disarm what ours has armed (before Linux 6.17 because it cannot register it): so disarm checks
 * afterwards, when the call has failed. Where it is not certain that ours has armed the range, it checks first: by the
 * program's userfaultfd the call would take what that one has registered.
 */
static int arm(struct mrn_uffd *u, uintptr_t start, uintptr_t end, struct mrn_uffd_found *found)
{
	int r = -EBADF;

	if (u->number.maps >= 0 && !mrn_uffd_has_mark(u, u->number.maps) &&
	    !MRN_BROKEN(UFFD_NUMBERS))
		u->number.maps = -1;
	if (mrn_uffd_is_our_number(u, u->number.fd) || MRN_BROKEN(UFFD_NUMBERS))
		r = mrn_uffd_arm_by(&u->number, start, end, found);
	if (r == -EBADF) {
		u->number = MRN_UFFD_NO_NUMBERS;
		u->request.found = *found;
		r = mrn_uffd_ask_keeper(u, MRN_UFFD_ARM, start, end);
		*found = u->request.found;
	}
	/* Without a keeper nothing is armed any more. */
	return r < 0 && r != -EAGAIN ? MRN_USE_ONCE : r;
}

/*
 * 0, or -errno: something may still be armed. -EINVAL by number also if a part cannot be armed, or nothing is mapped.
 * certain: ours has armed all of it.
 */
static int disarm(struct mrn_uffd *u, uintptr_t start, uintptr_t end, bool certain)
{
	bool checks = !certain && !mrn_is_confined();
	int r = -EBADF;

	if (u->number.fd >= 0 && (!checks || mrn_uffd_has_mark(u, u->number.fd)))
		r = mrn_uffd_disarm_by(u->number.fd, start, end);
	if (r && r != -EBADF && !checks && !mrn_uffd_is_ours(u, u->number.fd))
		r = -EBADF;
	if (r != -EBADF)
		return r;
	u->number = MRN_UFFD_NO_NUMBERS;
	return mrn_uffd_ask_keeper(u, MRN_UFFD_DISARM, start, end);
}

/* The same, whatever else is mapped in the range. */
static int disarm_pieces(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	int r = disarm(u, start, end, false);

	if (r && u->number.pagemap >= 0 && mrn_uffd_is_our_page_map(u, u->number.pagemap))
		r = mrn_uffd_disarm_pieces(&u->number, start, end);
	return r;
}

static void note_disarmed(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	mrn_marks_clear(&u->armed, start, end, MRN_MARK_LOOSE);
	mrn_marks_clear(&u->armed, start, end, MRN_MARK_MAYBE);
}

/* Disarms a part of what has no marks; it stays in the set, which may be too large. */
static void disarm_wide(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	for (unsigned int i = 0; i < u->wide.n; i++) {
		uintptr_t from = u->wide.range[i].start, to = u->wide.range[i].end;

		from = from < start ? start : from;
		to = to > end ? end : to;
		if (from < to)
			disarm_pieces(u, from, to);
	}
}

/* What may be armed in [start, end). sure is cleared first: nobody relies on what is no longer armed. */
static void disarm_marked(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	uintptr_t from = start, to, run_end;
	bool certain;

	disarm_wide(u, start, end);
	if (!mrn_marks_run(&u->armed, &from, end, &run_end))
		return;
	/* All runs in one call, if nothing in between is in the way. */
	for (to = start = run_end; mrn_marks_run(&u->armed, &start, end, &run_end); start = run_end)
		to = run_end;
	certain = mrn_marks_all(&u->armed, from, to, MRN_MARK_SURE);
	mrn_marks_clear(&u->armed, from, to, MRN_MARK_SURE);
	if (!disarm(u, from, to, certain)) {
		note_disarmed(u, from, to);
		return;
	}
	for (start = from; mrn_marks_run(&u->armed, &start, to, &run_end); start = run_end)
		if (!disarm_pieces(u, start, run_end))
			note_disarmed(u, start, run_end);
}

/* True if something may be armed there, or in the other case, if something must not stay so without a notifier. */
static bool may_be_armed(const struct mrn_uffd *u, uintptr_t start, uintptr_t end,
			 enum mrn_mark mark)
{
	return mrn_marks_has(&u->armed, start, end, mark) ||
	       (start < __atomic_load_n(&u->wide.high, __ATOMIC_RELAXED) &&
		end > __atomic_load_n(&u->wide.low, __ATOMIC_RELAXED));
}

/* Before arming: that brackets come by. False, for a range that can have no marks: it is in the set. */
static bool note_maybe(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	if (mrn_marks_make(&u->armed, start, end)) {
		mrn_marks_set(&u->armed, start, end, MRN_MARK_MAYBE);
		return true;
	}
	mrn_wide_add(&u->wide, start, end);
	return false;
}

/* --------------------------------------------------------------------------------- what nobody needs */

/*
 * Disarms [start, end), which had no notifier but `except` a moment ago. A notifier that has been inserted since may rely
 * on what is armed: then it stays armed, and is only no longer known to be. Returns whether anything was disarmed.
 */
static bool disarm_unwatched(struct mrn_uffd *u, const struct mmu_range_notifier *except,
			     uintptr_t start, uintptr_t end)
{
	uintptr_t from = start, gap_end;

	if (!may_be_armed(u, start, end, MRN_MARK_MAYBE))
		return false;
	MRN_HOOK(uffd_disarm);
	mrn_marks_clear(&u->armed, start, end, MRN_MARK_SURE);
	mrn_fence_full();
	if (!MRN_BROKEN(ARMED_GIVE_BACK) &&
	    (!mrn_find_unwatched(u->mm, except, &from, end, &gap_end) || from != start ||
	     gap_end != end))
		return false;
	disarm_marked(u, start, end);
	return true;
}

static bool disarm_gaps(struct mrn_uffd *u, const struct mmu_range_notifier *except,
			uintptr_t start, uintptr_t end)
{
	uintptr_t gap_end;
	bool any = false;

	for (; mrn_find_unwatched(u->mm, except, &start, end, &gap_end); start = gap_end)
		any |= disarm_unwatched(u, except, start, gap_end);
	return any;
}

static void list(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	mrn_lasting_push(u->lasting, (struct mrn_span){start, end});
	mrn_marks_set(&u->armed, start, end, MRN_MARK_LISTED);
}

/* The oldest range that was armed for good; true if something was disarmed. */
static bool give_back_one(struct mrn_uffd *u)
{
	struct mrn_span s = mrn_lasting_pop(u->lasting);
	bool any = disarm_gaps(u, NULL, s.start, s.end);

	mrn_marks_clear(&u->armed, s.start, s.end, MRN_MARK_LISTED);
	if (mrn_marks_has(&u->armed, s.start, s.end, MRN_MARK_MAYBE))
		list(u, s.start, s.end);
	return any;
}

unsigned int mrn_uffd_give_back(struct mrn_uffd *u, unsigned int looks)
{
	mrn_sigmask mask = mrn_mutex_lock_masked(&u->lock);
	unsigned int n = 0;

	if (looks > u->lasting->n)
		looks = u->lasting->n;
	while (looks--)
		n += give_back_one(u);
	mrn_mutex_unlock_masked(&u->lock, mask);
	return n;
}

/* True if there are more than the notifiers account for, by more than may stay idle. */
static bool are_too_many(const struct mrn_uffd *u)
{
	return u->lasting->n > __atomic_load_n(&u->mm->index.filter.entries, __ATOMIC_RELAXED) +
				       u->most_idle ||
	       mrn_lasting_is_full(u->lasting);
}

/* Room to remember that the range is to be given back. Before it is armed, since what goes may be a part of it. */
static void make_room(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	for (int looks = 0; are_too_many(u) && looks < MRN_UFFD_LOOKS &&
			    !mrn_marks_all(&u->armed, start, end, MRN_MARK_LISTED);
	     looks++)
		give_back_one(u);
}

/* False: there is no room. */
static bool keep(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	if (mrn_marks_all(&u->armed, start, end, MRN_MARK_LISTED))
		return true;
	if (mrn_lasting_is_full(u->lasting))
		return false;
	list(u, start, end);
	return true;
}

/* ---------------------------------------------------------------------------------------- the callers */

/*
 * Is one mapping that holds the range armed as a whole? If an event was read meanwhile, the monitor holds a token until it
 * has had the lock. What the event names may be less than what was mapped anew.
 */
static int look_for_events(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	mrn_fence_full();
	return mrn_tokens_overlap(u->mm, start, end) && !MRN_BROKEN(ARMED_UNREAD) &&
			       !MRN_BROKEN(ARMED_STEADY)
		       ? -EAGAIN
		       : 0;
}

/* For a range that has marks: r is what arming it returned. */
static void note_armed(struct mrn_uffd *u, uintptr_t start, uintptr_t end, int r,
		       const struct mrn_uffd_found *found)
{
	if (!r && (found->plain || MRN_BROKEN(ARMED_LOOSE)) && keep(u, start, end)) {
		mrn_marks_clear(&u->armed, start, end, MRN_MARK_LOOSE);
		mrn_marks_set(&u->armed, start, end, MRN_MARK_SURE);
	} else if (r != MRN_USE_ONCE) {
		/* Also in part, and if the caller has to try again: it may give up. */
		mrn_marks_set(&u->armed, start, end, MRN_MARK_LOOSE);
	}
}

int mrn_uffd_arm(struct mrn_uffd *u, uintptr_t start, uintptr_t end, struct mrn_uffd_found *found)
{
	mrn_sigmask mask = mrn_mutex_lock_masked(&u->lock);
	const struct mrn_wide wide = u->wide;
	bool has_marks;
	int r;

	make_room(u, start, end);
	has_marks = !MRN_BROKEN(ARMED_MAYBE) && note_maybe(u, start, end);
	mrn_fence_full();
	MRN_HOOK(uffd_arm);
	/* A range that is added after this look collides: the keeper holds a token when it adds. */
	found->once = mrn_use_once_reasons(&u->use_once, start, end);
	if (found->once) {
		r = MRN_USE_ONCE;
	} else if (mrn_tokens_overlap(u->mm, start, end) && !MRN_BROKEN(ARMED_STEADY)) {
		r = -EAGAIN;
	} else {
		r = arm(u, start, end, found);
		if (!r && found->plain)
			r = look_for_events(u, start, end);
		MRN_HOOK(uffd_sure);
		if (MRN_BROKEN(ARMED_MAYBE))
			has_marks = note_maybe(u, start, end);
		if (has_marks)
			note_armed(u, start, end, r, found);
		else if (r == MRN_USE_ONCE)
			/* Nothing was armed. */
			mrn_wide_restore(&u->wide, &wide);
	}
	mrn_mutex_unlock_masked(&u->lock, mask);
	return r;
}

void mrn_uffd_disarm(struct mrn_uffd *u, const struct mmu_range_notifier *leaving)
{
	uintptr_t start = leaving->node.start, end = leaving->node.end;
	mrn_sigmask mask;

	/* What is sure is kept for the next that needs it. */
	if (!may_be_armed(u, start, end, MRN_MARK_LOOSE))
		return;
	mask = mrn_mutex_lock_masked(&u->lock);
	disarm_gaps(u, leaving, start, end);
	mrn_mutex_unlock_masked(&u->lock, mask);
}

void mrn_uffd_disarm_changing(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	mrn_sigmask mask;

	if (!may_be_armed(u, start, end, MRN_MARK_MAYBE))
		return;
	mask = mrn_mutex_lock_masked(&u->lock);
	disarm_marked(u, start, end);
	mrn_mutex_unlock_masked(&u->lock, mask);
}

void mrn_uffd_disarm_whole(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	mrn_sigmask mask = mrn_mutex_lock_masked(&u->lock);

	disarm_marked(u, start, end);
	disarm_pieces(u, start, end);
	mrn_mutex_unlock_masked(&u->lock, mask);
}
