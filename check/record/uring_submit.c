/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * io_uring_enter: looks at the requests that the program submits, just before the kernel does.
 *
 * Several threads may enter at once, and the kernel says only at the end of a batch that it has taken the requests. So a
 * request may be seen twice, by the same thread or by another. It is copied, and the copy counts only if the kernel had
 * not said so by then: the place may have another request otherwise. A use that is seen twice is the same finding; a
 * flight begins only the first time (uring_complete.c says why no flight begins after its end).
 */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "check/record/flight.h"
#include "check/record/uring_internal.h"
#include "os/syscall.h"
#include "os/thread.h"

#include "os/event_path.h"

static bool is_before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

/* The request at that place of the queue; false if there is none any more. */
static bool read_at(const struct uring_ring *r, uint32_t at, struct io_uring_sqe *sqe)
{
	const struct uring_view *v = &r->view;
	const uint32_t mask = v->sq_entries - 1;
	const size_t size = (size_t)1 << v->sqe_shift;
	uint32_t i = at & mask, head;

	if (v->sq_array && !r->is_unmapped && !uring_view_word(v, &v->sq_array[i], &i))
		return false;
	/* A wrong number: the kernel passes over it. */
	if (i >= v->sq_entries || !uring_view_read(v, sqe, v->sqes + i * size, size))
		return false;
	/* Orders the copy before the look at the head. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return uring_view_word(v, v->sq_head, &head) && !is_before(at, head);
}

struct use {
	struct check_reg *reg;
	const char *op;
};

static void use(void *arg, uintptr_t addr, size_t length)
{
	const struct use *u = arg;

	check_use(u->reg, addr, length, u->op);
}

static void looks_at(struct uring_ring *r, uint32_t at, bool is_used)
{
	union {
		struct io_uring_sqe sqe;
		char bytes[128];
	} copy;
	struct uring_request q;
	struct use u;

	if (!read_at(r, at, &copy.sqe))
		return;
	uring_read_request(&copy.sqe, r->view.sqe_shift == 7, &q);
	if (q.is_fixed && is_used) {
		u = (struct use){uring_registered(r, q.index), q.op};
		uring_each_range(&q, use, &u);
	}
	if (!is_before(at, r->looked))
		uring_flies(r, &copy.sqe, &q, at);
}

static void submits_to(struct uring_ring *r, uint32_t most, uint32_t tail)
{
	const struct uring_view *v = &r->view;
	uint32_t head, waiting;

	if (!uring_view_word(v, v->sq_head, &head))
		return;
	waiting = tail - head;
	if (waiting > v->sq_entries)
		return;
	if (r->submitter && r->submitter != mrn_thread_self())
		r->is_shared = true;
	r->submitter = mrn_thread_self();
	r->stack = 0;
	if (most > waiting)
		r->is_overasked = true;
	/* Whoever enters first may have the others' requests taken: so all are looked at, the first time. */
	for (uint32_t i = 0; i < waiting; i++)
		if (i < most || !is_before(head + i, r->looked))
			looks_at(r, head + i, i < most);
	if (is_before(r->looked, tail))
		r->looked = tail;
}

void uring_submits(struct uring_ring *r, uint32_t most)
{
	uint32_t tail;

	if (uring_view_word(&r->view, r->view.sq_tail, &tail))
		submits_to(r, most, tail);
}

void uring_submitted_by_library(uint32_t fd, bool is_registered, uint32_t tail)
{
	struct uring_ring *r = uring_take(fd, is_registered);
	uint32_t head;

	if (!r)
		return;
	if (r->is_seen && uring_view_word(&r->view, r->view.sq_head, &head)) {
		uring_completed(r);
		r->is_unmapped = true;
		submits_to(r, tail - head, tail);
		r->is_unmapped = false;
		uring_groups_look(r);
	}
	check_unlock(&r->lock);
}

/* ----------------------------------------------------------------------- what SQPOLL's thread would do */

/* An error that SQPOLL's thread would not tell: it would try again. */
static bool is_passing(long r)
{
	return r == -EAGAIN || r == -EBUSY || r == -EINTR || r == -ENOMEM;
}

/*
 * Goes on behind a request that is refused, as before SUBMIT_ALL the kernel does not; and for a while where something
 * is short. 0, or an error that is not passing.
 */
static long submit_all(const long a[6], uint32_t nr)
{
	enum { TRIES = 64 };
	long submit[6] = {a[0], nr, 0, (uint32_t)a[3] & IORING_ENTER_REGISTERED_RING};

	for (unsigned int i = 0; submit[1] > 0 && i < TRIES; i++) {
		long r = check_call_make(SYS_io_uring_enter, submit);

		if (r < 0 && !is_passing(r))
			return r;
		if (r > 0)
			submit[1] -= r;
		else
			mrn_sys0(SYS_sched_yield);
	}
	return 0;
}

/*
 * Submits all that there is, whatever the program asks for; it is told that all was done. What it waits for, it waits
 * for in a call that goes on as it came, and that submits as many as were asked for, if there are so many.
 */
static bool submits_polled(long a[6], uint32_t waiting, long *result)
{
	const uint32_t asked = (uint32_t)a[1];
	const bool waits = (uint32_t)a[3] & IORING_ENTER_GETEVENTS;
	const uint32_t last = waits ? (asked < waiting ? asked : waiting) : 0;

	*result = submit_all(a, waiting - last);
	if (*result < 0)
		return true;
	a[1] = last;
	*result = (long)asked;
	return !waits;
}

static uint32_t waiting_in(const struct uring_ring *r)
{
	uint32_t head, tail;

	if (!uring_view_word(&r->view, r->view.sq_head, &head) ||
	    !uring_view_word(&r->view, r->view.sq_tail, &tail))
		return 0;
	return tail - head;
}

bool check_uring_enter(long a[6], long *result)
{
	struct uring_ring *r =
		uring_take((uint32_t)a[0], (uint32_t)a[3] & IORING_ENTER_REGISTERED_RING);
	uint32_t waiting = 0;
	bool polled;

	if (!r)
		return false;
	/* Without a view it is not known what there is to submit: as it came. */
	polled = r->polled && r->is_seen;
	if (polled)
		waiting = waiting_in(r);
	if (r->is_seen) {
		uring_completed(r);
		uring_submits(r, polled ? waiting : (uint32_t)a[1]);
		uring_groups_look(r);
	}
	check_unlock(&r->lock);
	return polled && submits_polled(a, waiting, result);
}
