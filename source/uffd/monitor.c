/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The monitor: reads userfaultfd events and turns them into invalidations. While it is busy, somebody
 * sleeps in free() with malloc's lock held, so it keeps to the rules of the event path.
 */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "core/check.h"
#include "core/slot.h"
#include "os/atomic.h"
#include "os/syscall.h"
#include "os/uffd.h"
#include "source/dispatch/dispatch.h"
#include "source/uffd/uffd.h"

#include "os/event_path.h"

static void announce(struct mrn_uffd *u, uintptr_t start, uintptr_t end,
		     enum mmu_notifier_event event, enum mrn_cause cause)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, event, MRN_RANGE_AFTER, u->mm, start, end);
	range.cause = cause;
	if (mmu_notifier_invalidate_range_start(&range) == 0)
		mmu_notifier_invalidate_range_end(&range);
}

static void remapped(struct mrn_uffd *u, uintptr_t from, uintptr_t to, uintptr_t length)
{
	/* Length 0 is mremap's way of duplicating a shared mapping: nothing has changed at `from`. */
	if (length) {
		announce(u, from, from + length, MMU_NOTIFY_UNMAP, MRN_CAUSE_MREMAP_SRC);
		announce(u, to, to + length, MMU_NOTIFY_UNMAP, MRN_CAUSE_MREMAP_DST);
	}
	/*
	 * Both ends are armed now: the new one has inherited it, the old one has kept it if the call
	 * was MREMAP_DONTUNMAP. Nobody relies on either: what was registered there has just been
	 * told, and what is being registered there arms again once our token is gone. (What the call
	 * has grown the mapping by stays armed: the event does not tell, and it only costs time.)
	 */
	mrn_uffd_disarm_now(u, from, from + length);
	mrn_uffd_disarm_now(u, to, to + length);
}

static void removed(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	/* First: a registration that collides with the callbacks must find it when it tries again. */
	if (!MRN_BROKEN(UFFD_REMOVE_TRAP))
		mrn_use_once_add(&u->use_once, start, end);
	/* The event does not say which advice it was. */
	announce(u, start, end, MMU_NOTIFY_CLEAR, MRN_CAUSE_DONTNEED);
	if (!MRN_BROKEN(UFFD_REMOVE_TRAP))
		mrn_uffd_disarm_now(u, start, end);
}

static void handle(struct mrn_uffd *u, const struct uffd_msg *msg)
{
	switch (msg->event) {
	case UFFD_EVENT_UNMAP:
		announce(u, (uintptr_t)msg->arg.remove.start, (uintptr_t)msg->arg.remove.end,
			 MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP);
		break;
	case UFFD_EVENT_REMAP:
		remapped(u, (uintptr_t)msg->arg.remap.from, (uintptr_t)msg->arg.remap.to,
			 (uintptr_t)msg->arg.remap.len);
		break;
	case UFFD_EVENT_REMOVE:
		removed(u, (uintptr_t)msg->arg.remove.start, (uintptr_t)msg->arg.remove.end);
		break;
	default:
		break;
	}
}

/* Publishes a token over everything, without calling anybody: who looks something up waits. */
static void hold_lookups(struct mrn_uffd *u, struct mmu_notifier_range *all)
{
	mmu_notifier_range_init(all, MMU_NOTIFY_UNMAP, MRN_RANGE_AFTER, u->mm, 0, UINTPTR_MAX);
	mrn_token_publish(u->mm, all);
	/*
	 * Before the read, which lets the caller of munmap return and look up. The kernel's lock that passes from the
	 * read to that caller makes him see what was stored before it, so this needs no fence.
	 */
	mrn_token_raise(u->mm, all);
}

/* Where a test looks in. */
static void event_is_there(void)
{
#ifdef MRN_CHECK
	void (*hook)(void) = mrn_check_uffd_event_hook;

	if (hook)
		hook();
#endif
}

static void event_was_read(void)
{
#ifdef MRN_CHECK
	void (*hook)(void) = mrn_check_uffd_hook;

	if (hook)
		hook();
#endif
}

static void drain(struct mrn_uffd *u)
{
	struct mmu_notifier_range all;
	struct uffd_msg msg[16];
	long n;

	mrn_dispatch_join();
	event_is_there();
	if (!MRN_BROKEN(UFFD_LATE_TOKEN))
		hold_lookups(u, &all);
	n = mrn_sys3(SYS_read, u->fd, (long)msg, sizeof(msg));
	if (n > 0)
		event_was_read();
	if (MRN_BROKEN(UFFD_LATE_TOKEN))
		hold_lookups(u, &all);
	for (long i = 0; i < n / (long)sizeof(msg[0]); i++)
		handle(u, &msg[i]);
	mrn_token_withdraw(u->mm, &all);
}

void *mrn_uffd_monitor(void *uffd)
{
	struct mrn_uffd *u = uffd;
	struct pollfd fds[2] = {{.fd = u->fd, .events = POLLIN}, {.fd = u->stop, .events = POLLIN}};

	mrn_own_thread_enter();
	mrn_sys2(SYS_prctl, PR_SET_NAME, (long)"mrn-uffd");
	for (;;) {
		long r = mrn_sys4(SYS_ppoll, (long)fds, 2, 0, 0);

		if (r < 0 && r != -EINTR)
			break;
		if (fds[0].revents & POLLIN)
			drain(u);
		else if (fds[1].revents)
			break;
	}
	mrn_own_thread_leave();
	return NULL;
}
