/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The monitor: turns what the keeper has read into invalidations. Meanwhile lookups wait for the token over everything,
 * so the monitor keeps to the rules of the event path.
 */
#include <errno.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "core/slot.h"
#include "os/atomic.h"
#include "os/futex.h"
#include "os/syscall.h"
#include "source/dispatch/dispatch.h"
#include "source/uffd/check.h"
#include "source/uffd/uffd.h"

#include "os/event_path.h"

static void announce(struct mrn_uffd *u, uintptr_t start, uintptr_t end,
		     enum mmu_notifier_event event, enum mrn_cause cause)
{
	struct mmu_notifier_range range;

	/* What is mapped there by now may have been armed anew: whoever did that is called back, too. */
	if (!MRN_BROKEN(ARMED_EVENT))
		mrn_uffd_disarm_changing(u, start, end);
	mmu_notifier_range_init(&range, event, MRN_RANGE_AFTER, u->mm, start, end);
	range.cause = cause;
	if (mmu_notifier_invalidate_range_start(&range) == 0)
		mmu_notifier_invalidate_range_end(&range);
}

static void tell(struct mrn_uffd *u, const struct uffd_msg *msg)
{
	uintptr_t start = (uintptr_t)msg->arg.remove.start, end = (uintptr_t)msg->arg.remove.end;
	uintptr_t from = (uintptr_t)msg->arg.remap.from, to = (uintptr_t)msg->arg.remap.to;
	uintptr_t length = (uintptr_t)msg->arg.remap.len;

	switch (msg->event) {
	case UFFD_EVENT_UNMAP:
		announce(u, start, end, MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP);
		break;
	case UFFD_EVENT_REMAP:
		/* Length 0 is mremap's way of duplicating a shared mapping: nothing has changed at `from`. */
		if (!length)
			break;
		announce(u, from, from + length, MMU_NOTIFY_UNMAP, MRN_CAUSE_MREMAP_SRC);
		announce(u, to, to + length, MMU_NOTIFY_UNMAP, MRN_CAUSE_MREMAP_DST);
		break;
	case UFFD_EVENT_REMOVE:
		/* The event does not say which advice it was. */
		announce(u, start, end, MMU_NOTIFY_CLEAR, MRN_CAUSE_DONTNEED);
		break;
	default:
		break;
	}
}

static void handle(struct mrn_uffd *u, struct mrn_uffd_batch *b)
{
	mrn_dispatch_join();
	/* The events that did not fit may be about any range. */
	if (b->everything)
		announce(u, 0, UINTPTR_MAX, MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP);
	for (unsigned int i = 0; !b->everything && i < b->n; i++)
		tell(u, &b->msg[i]);
	mrn_token_withdraw(u->mm, &b->token);
}

/*
 * The next batch; NULL at the end. Does not take the batch that the keeper is adding to: after the read the keeper
 * hands it over itself, since it finds that the monitor handles none. So nobody waits for a token while ever more is
 * added to its batch.
 */
static struct mrn_uffd_batch *next(struct mrn_uffd *u, struct mrn_uffd_batch *done)
{
	struct mrn_uffd_batch *b;

	mrn_mutex_lock(&u->batch_lock);
	if (done) {
		done->held = done->everything = false;
		done->n = 0;
		u->handling = u->batch[u->filling].held && !u->reading;
		if (u->handling)
			u->filling ^= 1;
	}
	while (!u->handling && !u->over) {
		uint32_t turns = __atomic_load_n(&u->turns, __ATOMIC_RELAXED);

		mrn_mutex_unlock(&u->batch_lock);
		mrn_futex_wait(&u->turns, turns, NULL);
		mrn_mutex_lock(&u->batch_lock);
	}
	b = u->handling ? &u->batch[u->filling ^ 1] : NULL;
	mrn_mutex_unlock(&u->batch_lock);
	return b;
}

void *mrn_uffd_monitor(void *uffd)
{
	struct mrn_uffd *u = uffd;
	struct mrn_uffd_batch *b = NULL;

	mrn_own_thread_enter();
	mrn_sys2(SYS_prctl, PR_SET_NAME, (long)"mrn-events");
	u->monitor_thread = mrn_thread_self();
	u->monitor_tid = mrn_sys0(SYS_gettid);
	__atomic_fetch_add(&u->turns, 1, __ATOMIC_RELEASE);
	mrn_futex_wake(&u->turns, 1);
	while ((b = next(u, b)))
		handle(u, b);
	if (u->failed) {
		/* Threads that still sleep for an event go on when the last number is closed. */
		mrn_uffd_close_numbers(u);
		u->lost();
	}
	mrn_own_thread_leave();
	return NULL;
}
