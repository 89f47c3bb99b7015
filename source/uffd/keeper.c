/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The keeper: a thread whose descriptor table has only the userfaultfd and the page map. It reads events, and arms and
 * disarms for other threads when their own number has become another file's.
 *
 * It waits only for the kernel and for locks that are held for a few instructions: a caller of munmap sleeps until the
 * keeper reads, and a callback that holds a driver lock may wait for its answer. So it calls nobody back, and when the
 * monitor is slow it forgets what has changed, and says "everything".
 *
 * To wake the keeper, unmap the bell, which is an event. That takes no descriptor, and no system call that free does
 * not make.
 */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include "source/uffd/check.h"
#include "core/slot.h"
#include "os/atomic.h"
#include "os/fd.h"
#include "os/futex.h"
#include "os/pagemap.h"
#include "os/pages.h"
#include "os/syscall.h"
#include "os/thread.h"
#include "source/uffd/uffd.h"

#include "os/event_path.h"

/* -------------------------------------------------------------------------------------- the bell */

void mrn_uffd_hang_bell(struct mrn_uffd *u, int fd)
{
	size_t size = mrn_page_size();
	long p = mrn_own6(SYS_mmap, 0, (long)size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	u->hung = mrn_sys_failed(p) ? 0 : (uintptr_t)p;
	if (u->hung && mrn_uffd_register(fd, u->hung, u->hung + size)) {
		mrn_sys2(SYS_munmap, p, (long)size);
		u->hung = 0;
	}
	__atomic_store_n(&u->bell, u->hung, __ATOMIC_RELEASE);
}

/*
 * With the lock held. Sleeps until the keeper has read the event; does nothing without a bell, since the keeper then
 * polls. Takes the bell out first, so that nobody unmaps later what may be mapped there by then.
 */
static void ring(struct mrn_uffd *u)
{
	uintptr_t bell = __atomic_exchange_n(&u->bell, 0, __ATOMIC_ACQUIRE);

	if (bell)
		mrn_sys2(SYS_munmap, (long)bell, (long)mrn_page_size());
}

/* ------------------------------------------------------------------------------------- requests */

int mrn_uffd_ask_keeper(struct mrn_uffd *u, enum mrn_uffd_request what, uintptr_t start,
			uintptr_t end)
{
	u->request.what = what;
	u->request.start = start;
	u->request.end = end;
	u->request.rings = __atomic_load_n(&u->bell, __ATOMIC_RELAXED) != 0;
	u->request.rung = __atomic_load_n(&u->rung, __ATOMIC_RELAXED);
	/*
	 * Dekker, with the keeper's end(): the keeper finds the request, or this thread finds that the keeper has
	 * ended.
	 */
	__atomic_store_n(&u->request.pending, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&u->running, __ATOMIC_SEQ_CST) != 1) {
		__atomic_store_n(&u->request.pending, 0, __ATOMIC_RELAXED);
		return -ESRCH;
	}
	/* Acquire pairs with the release in serve: the result is set. */
	while (__atomic_load_n(&u->request.pending, __ATOMIC_ACQUIRE)) {
		/* Rings again if nothing was heard: the program may have unmapped the bell. */
		ring(u);
		mrn_futex_wait_for(&u->request.pending, 1, 100000000);
	}
	return u->request.result;
}

/* Answers -ESRCH once the keeper has ended. */
static void serve(struct mrn_uffd *u)
{
	u->request.result = 0;
	if (__atomic_load_n(&u->running, __ATOMIC_RELAXED) != 1)
		u->request.result = -ESRCH;
	else if (u->request.what == MRN_UFFD_ARM)
		u->request.result = mrn_uffd_arm_by(&u->kept, u->request.start, u->request.end,
						    &u->request.found);
	else if (u->request.what == MRN_UFFD_DISARM)
		u->request.result = mrn_uffd_disarm_any(&u->kept, u->request.start, u->request.end);
	__atomic_store_n(&u->request.pending, 0, __ATOMIC_RELEASE);
	mrn_futex_wake(&u->request.pending, 1);
}

/*
 * True if there is a request and its bell has rung. Not before: the thread that unmaps the bell sleeps until the event
 * is read, and after a request to stop nobody would read it; and the next request must find a new bell.
 */
static bool is_asked(const struct mrn_uffd *u)
{
	return __atomic_load_n(&u->request.pending, __ATOMIC_ACQUIRE) &&
	       (!u->request.rings || u->request.rung != u->rung);
}

/* --------------------------------------------------------------------------------------- events */

/* Publishes a token over everything, without callbacks: lookups wait. */
static void hold_lookups(struct mrn_uffd *u)
{
	struct mrn_uffd_batch *b;

	mrn_mutex_lock(&u->batch_lock);
	u->reading = true;
	b = &u->batch[u->filling];
	if (!b->held) {
		mmu_notifier_range_init(&b->token, MMU_NOTIFY_UNMAP, MRN_RANGE_AFTER, u->mm, 0,
					UINTPTR_MAX);
		mrn_token_publish_for(u->mm, &b->token, u->monitor_thread);
		/*
		 * Before the read, which lets the caller of munmap return and look up. The kernel's lock that passes
		 * from the read to that caller makes it see what was stored before, so no fence is needed.
		 */
		mrn_token_raise(u->mm, &b->token);
		b->held = true;
	}
	mrn_mutex_unlock(&u->batch_lock);
}

/*
 * Does what cannot wait for the monitor. A token over everything is held, so nobody relies on what is disarmed here:
 * what was built there is told before the token goes, and what is being built arms again after that.
 *
 * REMAP leaves both ends armed: the new one inherits it, the old one keeps it after MREMAP_DONTUNMAP. (The part by
 * which the call has grown the mapping stays armed: the event does not name it, and it only costs time.)
 */
static void prepare(struct mrn_uffd *u, const struct uffd_msg *msg,
		    const struct mrn_zappers *trimming)
{
	uintptr_t start = (uintptr_t)msg->arg.remove.start, end = (uintptr_t)msg->arg.remove.end;
	uintptr_t from = (uintptr_t)msg->arg.remap.from, to = (uintptr_t)msg->arg.remap.to;
	uintptr_t length = (uintptr_t)msg->arg.remap.len;

	switch (msg->event) {
	case UFFD_EVENT_REMAP:
		mrn_uffd_disarm_any(&u->kept, from, from + length);
		mrn_uffd_disarm_any(&u->kept, to, to + length);
		break;
	case UFFD_EVENT_REMOVE:
		/* Before the callbacks: a registration that collides with them must find the range when it retries. */
		if (MRN_BROKEN(UFFD_REMOVE_TRAP))
			break;
		mrn_use_once_add(&u->use_once, start, end, trimming);
		mrn_uffd_disarm_any(&u->kept, start, end);
		break;
	default:
		break;
	}
}

/* True if only the bell was unmapped. Hangs a new bell, whoever unmapped the old one. */
static bool is_bell(struct mrn_uffd *u, const struct uffd_msg *msg)
{
	if (msg->event != UFFD_EVENT_UNMAP || !u->hung || u->hung < msg->arg.remove.start ||
	    u->hung >= msg->arg.remove.end)
		return false;
	__atomic_store_n(&u->rung, u->rung + 1, __ATOMIC_RELAXED);
	mrn_uffd_hang_bell(u, u->kept.fd);
	/* Where more was unmapped, notifiers must be told. */
	return msg->arg.remove.end - msg->arg.remove.start == mrn_page_size();
}

static void turn_to_monitor(struct mrn_uffd *u)
{
	u->handling = true;
	u->filling ^= 1;
	__atomic_fetch_add(&u->turns, 1, __ATOMIC_RELEASE);
	mrn_futex_wake(&u->turns, 1);
}

/* Hands over what has been read; drops an empty batch. */
static void hand_over(struct mrn_uffd *u, const struct uffd_msg *msg, unsigned int n)
{
	struct mrn_uffd_batch *b;

	mrn_mutex_lock(&u->batch_lock);
	b = &u->batch[u->filling];
	for (unsigned int i = 0; i < n; i++)
		if (b->n < MRN_UFFD_BATCH)
			b->msg[b->n++] = msg[i];
		else if (!MRN_BROKEN(UFFD_OVERFLOW))
			b->everything = true;
	u->reading = false;
	if (!b->n) {
		mrn_token_withdraw(u->mm, &b->token);
		b->held = false;
	} else if (!u->handling) {
		turn_to_monitor(u);
	}
	mrn_mutex_unlock(&u->batch_lock);
}

/* Returns what read returned: 0 or less if there was nothing. */
static long drain(struct mrn_uffd *u)
{
	struct uffd_msg msg[16];
	struct mrn_zappers trimming;
	unsigned int left = 0;
	long n;

	MRN_HOOK(uffd_event);
	if (!MRN_BROKEN(UFFD_LATE_TOKEN))
		hold_lookups(u);
	trimming = mrn_zappers_in_trim();
	n = mrn_sys3(SYS_read, u->kept.fd, (long)msg, sizeof(msg));
	if (n > 0)
		MRN_HOOK(uffd);
	if (MRN_BROKEN(UFFD_LATE_TOKEN))
		hold_lookups(u);
	for (long i = 0; i < n / (long)sizeof(msg[0]); i++) {
		if (is_bell(u, &msg[i]))
			continue;
		prepare(u, &msg[i], &trimming);
		msg[left++] = msg[i];
	}
	hand_over(u, msg, left);
	return n;
}

/* ----------------------------------------------------------------------------------- the thread */

/* Moves into a table of its own. The program may have reused the numbers meanwhile: checks that they are ours here. */
static int begin(struct mrn_uffd *u)
{
	const int fds[] = {u->kept.fd, u->kept.pagemap};
	size_t page = mrn_page_size();
	int r = MRN_BROKEN(UFFD_NUMBERS) ? 0 : mrn_fd_table_own(fds, sizeof(fds) / sizeof(fds[0]));

	if (r)
		return r;
	if (!mrn_uffd_is_ours(u, u->kept.fd))
		return -EBADF;
	/* The program's own page map would do; another process's, or another file, would not. */
	if (u->kept.pagemap >= 0 &&
	    mrn_pagemap_all_armed(u->kept.pagemap, u->hung, u->hung + page, NULL) != 1)
		return -EBADF;
	r = mrn_fd_mark(u->kept.fd, u->monitor_tid);
	return r || u->kept.pagemap < 0 ? r : mrn_fd_mark(u->kept.pagemap, u->monitor_tid);
}

/* Waits for an event, or for a tick without a bell, and reads. False if the kernel does not let it. */
static bool look_up(struct mrn_uffd *u)
{
	struct pollfd fd = {.fd = u->kept.fd, .events = POLLIN};
	struct timespec tick = {.tv_nsec = 10000000};
	long r = mrn_sys4(SYS_ppoll, (long)&fd, 1, u->hung ? 0 : (long)&tick, 0);

	if (r > 0)
		/* A userfaultfd never reads as empty (0). */
		r = fd.revents & POLLIN ? drain(u) : 0;
	else if (!r)
		r = -EAGAIN;
	if (!u->hung)
		mrn_uffd_hang_bell(u, u->kept.fd);
	return r > 0 || r == -EAGAIN || r == -EINTR;
}

/* Reads until it is asked to stop; false if it cannot go on. */
static bool keep(struct mrn_uffd *u)
{
	while (!is_asked(u) || u->request.what != MRN_UFFD_STOP) {
		if (is_asked(u))
			serve(u);
		if (!look_up(u))
			return false;
	}
	/* Nobody may ring when nobody reads: whoever has taken the bell is about to unmap it, or has. */
	while (u->hung && !__atomic_exchange_n(&u->bell, 0, __ATOMIC_ACQUIRE))
		if (!look_up(u))
			return false;
	return true;
}

/*
 * Disarms range by range, before the descriptor is closed: a child that was made without fork handlers may hold a copy
 * of it, and then closing ours would leave everything armed with nobody to read.
 */
static void end(struct mrn_uffd *u, bool asked)
{
	mrn_uffd_disarm_all_by(u->kept.fd);
	/* Also without /proc: whoever unmaps the bell from now on must not sleep. */
	if (u->hung)
		mrn_uffd_disarm_by(u->kept.fd, u->hung, u->hung + mrn_page_size());
	while (asked && drain(u) > 0)
		;
	__atomic_store_n(&u->running, 2, __ATOMIC_SEQ_CST);
	mrn_sys1(SYS_close, u->kept.fd);
	if (u->kept.pagemap >= 0)
		mrn_sys1(SYS_close, u->kept.pagemap);
	mrn_mutex_lock(&u->batch_lock);
	u->over = true;
	u->failed = !asked;
	__atomic_fetch_add(&u->turns, 1, __ATOMIC_RELEASE);
	mrn_futex_wake(&u->turns, 1);
	mrn_mutex_unlock(&u->batch_lock);
	/* Seq_cst: see mrn_uffd_ask_keeper. */
	if (__atomic_load_n(&u->request.pending, __ATOMIC_SEQ_CST))
		serve(u);
}

void *mrn_uffd_keeper(void *uffd)
{
	struct mrn_uffd *u = uffd;

	mrn_own_thread_enter();
	mrn_sys2(SYS_prctl, PR_SET_NAME, (long)"mrn-uffd");
	u->error = begin(u);
	__atomic_store_n(&u->running, u->error ? 2 : 1, __ATOMIC_RELEASE);
	mrn_futex_wake(&u->running, 1);
	if (!u->error)
		end(u, keep(u));
	mrn_own_thread_leave();
	return NULL;
}
