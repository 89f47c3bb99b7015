/* SPDX-License-Identifier: BSD-3-Clause */
/* Arms and disarms: source/marks.h has the orders. */
#include <errno.h>
#include <mrn/source.h>
#include <stddef.h>

#include "core/mm.h"
#include "os/atomic.h"
#include "os/check.h"
#include "os/syscall.h"
#include "source/uffd/check.h"
#include "source/uffd/uffd.h"
#include "source/watched.h"

#include "os/event_path.h"

mrn_sigmask mrn_uffd_lock(struct mrn_uffd *u)
{
	mrn_sigmask mask = mrn_signals_block();

	mrn_mutex_lock(&u->lock);
	return mask;
}

void mrn_uffd_unlock(struct mrn_uffd *u, mrn_sigmask mask)
{
	mrn_mutex_unlock(&u->lock);
	mrn_signals_restore(mask);
}

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
 * afterwards, when the call has failed.
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

/* False if something may still be armed. */
static bool disarm(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	int r = u->number.fd >= 0 ? mrn_uffd_disarm_by(u->number.fd, start, end) : -EBADF;

	if (!r)
		return true;
	if (!mrn_uffd_is_ours(u, u->number.fd)) {
		u->number = MRN_UFFD_NO_NUMBERS;
		return !mrn_uffd_ask_keeper(u, MRN_UFFD_DISARM, start, end);
	}
	/* It fails for all of the range if nothing is mapped where it begins, or if a part cannot be armed. */
	return mrn_uffd_is_our_page_map(u, u->number.pagemap) &&
	       !mrn_uffd_disarm_pieces(&u->number, start, end);
}

/* What may be armed in [start, end). sure is cleared first: nobody relies on what is no longer armed. */
static void disarm_marked(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	uintptr_t run_end;

	mrn_marks_clear(&u->armed, start, end, MRN_MARK_SURE);
	for (; mrn_marks_run(&u->armed, &start, end, &run_end); start = run_end) {
		if (!disarm(u, start, run_end))
			continue;
		mrn_marks_clear(&u->armed, start, run_end, MRN_MARK_LOOSE);
		mrn_marks_clear(&u->armed, start, run_end, MRN_MARK_MAYBE);
	}
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

	if (!mrn_marks_has(&u->armed, start, end, MRN_MARK_MAYBE))
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
	mrn_sigmask mask = mrn_uffd_lock(u);
	unsigned int n = 0;

	if (looks > u->lasting->n)
		looks = u->lasting->n;
	while (looks--)
		n += give_back_one(u);
	mrn_uffd_unlock(u, mask);
	return n;
}

/* Room to remember that the range is to be given back. Before it is armed, since what goes may be a part of it. */
static void make_room(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	for (int looks = 0; mrn_lasting_is_full(u->lasting) && looks < MRN_UFFD_LOOKS &&
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

/* What is armed is known from here on. */
static int note_armed(struct mrn_uffd *u, uintptr_t start, uintptr_t end, int r,
		      const struct mrn_uffd_found *found)
{
	/*
	 * If an event was read meanwhile, the monitor holds a token until it has had the lock. What the event names may
	 * be less than what was mapped anew.
	 */
	if (!r && found->plain) {
		mrn_fence_full();
		if (mrn_tokens_overlap(u->mm, start, end) && !MRN_BROKEN(ARMED_UNREAD) &&
		    !MRN_BROKEN(ARMED_STEADY))
			return -EAGAIN;
	}
	MRN_HOOK(uffd_sure);
	if (!r && (found->plain || MRN_BROKEN(ARMED_LOOSE)) && keep(u, start, end))
		mrn_marks_set(&u->armed, start, end, MRN_MARK_SURE);
	else if (!r || r == MRN_UFFD_IN_PART)
		mrn_marks_set(&u->armed, start, end, MRN_MARK_LOOSE);
	return r;
}

int mrn_uffd_arm(struct mrn_uffd *u, uintptr_t start, uintptr_t end, bool *files)
{
	struct mrn_uffd_found found = {.files = *files};
	mrn_sigmask mask;
	int r;

	if (!mrn_marks_make(&u->armed, start, end))
		return MRN_USE_ONCE;
	mask = mrn_uffd_lock(u);
	make_room(u, start, end);
	if (!MRN_BROKEN(ARMED_MAYBE))
		mrn_marks_set(&u->armed, start, end, MRN_MARK_MAYBE);
	mrn_fence_full();
	MRN_HOOK(uffd_arm);
	/* A range that is added after this look collides: the keeper holds a token when it adds. */
	if (mrn_use_once_overlaps(&u->use_once, start, end)) {
		r = MRN_USE_ONCE;
	} else if (mrn_tokens_overlap(u->mm, start, end) && !MRN_BROKEN(ARMED_STEADY)) {
		r = -EAGAIN;
	} else {
		r = arm(u, start, end, &found);
		r = note_armed(u, start, end, r, &found);
	}
	if (MRN_BROKEN(ARMED_MAYBE))
		mrn_marks_set(&u->armed, start, end, MRN_MARK_MAYBE);
	mrn_uffd_unlock(u, mask);
	*files = found.files;
	return r;
}

void mrn_uffd_disarm(struct mrn_uffd *u, const struct mmu_range_notifier *leaving)
{
	uintptr_t start = leaving->node.start, end = leaving->node.end;
	mrn_sigmask mask;

	/* What is sure is kept for the next that needs it. */
	if (!mrn_marks_has(&u->armed, start, end, MRN_MARK_LOOSE))
		return;
	mask = mrn_uffd_lock(u);
	disarm_gaps(u, leaving, start, end);
	mrn_uffd_unlock(u, mask);
}

void mrn_uffd_disarm_changing(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	mrn_sigmask mask;

	if (!mrn_marks_has(&u->armed, start, end, MRN_MARK_MAYBE))
		return;
	mask = mrn_uffd_lock(u);
	disarm_marked(u, start, end);
	mrn_uffd_unlock(u, mask);
}

void mrn_uffd_disarm_whole(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	mrn_sigmask mask = mrn_uffd_lock(u);

	disarm_marked(u, start, end);
	disarm(u, start, end);
	mrn_uffd_unlock(u, mask);
}

void mrn_uffd_forget_sure(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	mrn_sigmask mask;

	if (!mrn_marks_has(&u->armed, start, end, MRN_MARK_MAYBE))
		return;
	mask = mrn_uffd_lock(u);
	/* Not maybe: another thread may have armed what has come there since. */
	mrn_marks_clear(&u->armed, start, end, MRN_MARK_SURE);
	mrn_uffd_unlock(u, mask);
}
