/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * New rings.
 *
 * A ring with SQPOLL has a thread of the kernel's that takes what the program submits, while nobody looks. So it is made
 * without, and the program is told that it is with. Such a program need not enter the kernel, unless the ring says that
 * the kernel's thread has gone to sleep (IORING_SQ_NEED_WAKEUP): then it must, to wake the thread. In a ring without
 * SQPOLL the kernel never changes that bit. So we set it once, and the program enters after each batch, which is
 * submitted then (uring_submit.c).
 */
#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "check/record/uring_internal.h"

#include "os/event_path.h"

/* The kernel refuses these together with SQPOLL. */
#define NOT_WITH_SQPOLL \
	(IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_DEFER_TASKRUN)
/*
 * These need SQPOLL, or mean another thread with it. SUBMIT_ALL is what SQPOLL's thread does: it goes on after a request
 * that is refused.
 */
#define ONLY_WITH_SQPOLL (IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF | IORING_SETUP_SINGLE_ISSUER)

/* With IOPOLL, SQPOLL's thread polls for completions, too, which the program then need not enter for. */
static bool can_be_unpolled(uint32_t flags)
{
	return flags & IORING_SETUP_SQPOLL &&
	       !(flags & (NOT_WITH_SQPOLL | IORING_SETUP_IOPOLL | URING_SETUP_REGISTERED_FD_ONLY));
}

static long make(long entries, struct io_uring_params *p)
{
	const long a[6] = {entries, (long)p};

	return check_call_make(SYS_io_uring_setup, a);
}

/* Before Linux 5.18 there was no SUBMIT_ALL. */
static long make_unpolled(long entries, struct io_uring_params *p)
{
	const struct io_uring_params asked = *p;
	long r;

	p->flags = (asked.flags & ~ONLY_WITH_SQPOLL) | IORING_SETUP_SUBMIT_ALL;
	r = make(entries, p);
	if (r != -EINVAL)
		return r;
	*p = asked;
	p->flags &= ~ONLY_WITH_SQPOLL;
	return make(entries, p);
}

/* False if it cannot be seen what is submitted. */
static bool know(uint32_t number, uint32_t flags, bool polled, const struct io_uring_params *p,
		 const uint64_t memory[2])
{
	const bool has_fd = !(p->flags & URING_SETUP_REGISTERED_FD_ONLY);
	struct uring_ring *r = uring_new();
	bool is_seen;

	if (!r)
		return false;
	r->flags = flags;
	r->polled = polled;
	/* The kernel's own thread takes it at any time. */
	if (!(p->flags & IORING_SETUP_SQPOLL))
		uring_view_open(r, has_fd ? (int)number : -1, p, memory);
	is_seen = r->is_seen;
	if (is_seen && polled)
		__atomic_fetch_or(r->view.sq_flags, IORING_SQ_NEED_WAKEUP, __ATOMIC_SEQ_CST);
	__atomic_store_n(&r->is_live, true, __ATOMIC_RELEASE);
	if (has_fd)
		uring_set_fd(number, r);
	else
		uring_set_registered(number, r);
	return is_seen;
}

void uring_made_by_library(uint32_t fd, const struct io_uring_params *p)
{
	const uint64_t memory[2] = {p->cq_off.resv2, p->sq_off.resv2};

	know(fd, p->flags, false, p, memory);
}

static void undo(uint32_t number)
{
	const long a[6] = {number};

	uring_set_fd(number, NULL);
	check_call_make(SYS_close, a);
}

bool check_uring_setup(long a[6], long *result)
{
	struct io_uring_params asked, p;
	uint64_t memory[2];
	bool polled;

	/* Nor is a ring made whose description could not be given to the program. */
	if (check_read(&asked, (uintptr_t)a[1], sizeof(asked)) ||
	    check_write((uintptr_t)a[1], &asked, sizeof(asked)))
		return false;
	polled = can_be_unpolled(asked.flags);
	/* Where NO_MMAP has the addresses; else they are 0. */
	memory[0] = asked.cq_off.resv2;
	memory[1] = asked.sq_off.resv2;
	p = asked;
	*result = polled ? make_unpolled(a[0], &p) : make(a[0], &p);
	if (*result < 0)
		return true;
	/* Nobody would submit what is in a ring whose bit cannot be set. */
	if (!know((uint32_t)*result, asked.flags, polled, &p, memory) && polled) {
		undo((uint32_t)*result);
		polled = false;
		p = asked;
		*result = make(a[0], &p);
		if (*result < 0)
			return true;
		know((uint32_t)*result, asked.flags, false, &p, memory);
	}
	if (polled)
		p.flags = asked.flags;
	/* As the kernel does. */
	if (check_write((uintptr_t)a[1], &p, sizeof(p))) {
		if (!(p.flags & URING_SETUP_REGISTERED_FD_ONLY))
			undo((uint32_t)*result);
		*result = -EFAULT;
	}
	return true;
}
