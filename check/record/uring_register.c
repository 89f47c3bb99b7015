/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * io_uring_register: buffers, and what they are known by. A call that registers something is made here, since only its
 * result says what is registered; one that takes something away goes on as it came, since in older kernels it waits for
 * transfers in progress, and what it takes away is forgotten before it. If such a call fails, uses are not seen.
 */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "check/record/uring_internal.h"
#include "os/container_of.h"
#include "os/pages.h"

#include "os/event_path.h"

static struct check_pool pool = CHECK_POOL(struct uring_buffer, pooled);

/* --------------------------------------------------------------------------------------------- buffers */

static void put(struct uring_buffer *b)
{
	if (!b || __atomic_sub_fetch(&b->refs, 1, __ATOMIC_ACQ_REL))
		return;
	check_reg_end(b->reg);
	check_pool_put(&pool, &b->pooled);
}

static struct uring_buffer *begin(const struct iovec *iov, uint32_t flags)
{
	struct check_pooled *pooled;
	struct uring_buffer *b;

	if (!iov->iov_base || !iov->iov_len)
		return NULL;
	pooled = check_pool_get(&pool);
	if (!pooled)
		return NULL;
	b = container_of(pooled, struct uring_buffer, pooled);
	b->refs = 1;
	b->reg = check_reg_begin(CHECK_IO_URING, (uintptr_t)iov->iov_base, iov->iov_len, flags);
	return b;
}

/* Several, in pages of their own. */
struct buffers {
	struct uring_buffer **buffer;
	uint32_t nr;
};

static bool make_room(struct buffers *b, uint32_t nr)
{
	b->nr = nr;
	b->buffer = mrn_pages_alloc(nr * sizeof(*b->buffer));
	return b->buffer;
}

static void free_room(struct buffers *b)
{
	if (b->buffer)
		mrn_pages_free(b->buffer, b->nr * sizeof(*b->buffer));
	b->buffer = NULL;
}

/* Begins what the program is about to register with a ring. False if it cannot be followed. */
static bool begin_all(struct buffers *b, const struct uring_ring *r, uintptr_t vector, uint32_t nr)
{
	const uint32_t flags = r && r->is_seen ? 0 : CHECK_UNSEEN_USES;

	if (!nr || nr > URING_MAX_BUFFERS || !make_room(b, nr))
		return false;
	for (uint32_t i = 0; vector && i < nr; i++) {
		struct iovec iov;

		if (check_read(&iov, vector + i * sizeof(iov), sizeof(iov)))
			break; /* as the kernel will find */
		b->buffer[i] = begin(&iov, flags);
	}
	return true;
}

static void put_all(struct buffers *b)
{
	for (uint32_t i = 0; i < b->nr; i++)
		put(b->buffer[i]);
	free_room(b);
}

void uring_restart_buffers(void)
{
	check_pool_restart(&pool);
}

/* ----------------------------------------------------------------------------------- those of a ring */

void uring_forget_buffers(struct uring_ring *r)
{
	struct buffers was = {r->buffer, r->nr_buffers};

	r->buffer = NULL;
	r->nr_buffers = 0;
	if (was.buffer)
		put_all(&was);
}

struct check_reg *uring_registered(const struct uring_ring *r, uint32_t index)
{
	return index < r->nr_buffers && r->buffer[index] ? r->buffer[index]->reg : NULL;
}

/* The kernel has registered the first `done` of them from `at` on. Others, and those that they replace, end. */
static void install(struct uring_ring *r, uint32_t at, struct buffers *b, uint32_t done)
{
	for (uint32_t i = 0; i < done && i < b->nr && at + i < r->nr_buffers; i++) {
		struct uring_buffer *is = b->buffer[i];

		if (is)
			check_reg_done(is->reg, at + i);
		b->buffer[i] = r->buffer[at + i];
		r->buffer[at + i] = is;
	}
}

/* A new table. */
static bool registers(long a[6], long *result, uintptr_t vector, uint32_t nr)
{
	const bool by_index = (uint32_t)a[1] & URING_REGISTER_REGISTERED;
	struct uring_ring *r = uring_look_up((uint32_t)a[0], by_index);
	struct buffers b = {0};

	if (!begin_all(&b, r, vector, nr))
		return false;
	*result = check_call_make(SYS_io_uring_register, a);
	r = *result < 0 ? NULL : uring_take((uint32_t)a[0], by_index);
	if (!r) {
		put_all(&b);
		return true;
	}
	uring_forget_buffers(r);
	for (uint32_t i = 0; i < nr; i++)
		if (b.buffer[i])
			check_reg_done(b.buffer[i]->reg, i);
	r->buffer = b.buffer;
	r->nr_buffers = b.nr;
	uring_unlock(r);
	return true;
}

static bool registers2(long a[6], long *result)
{
	struct io_uring_rsrc_register reg;

	if (check_read(&reg, (uintptr_t)a[2], sizeof(reg)))
		return false;
	return registers(a, result,
			 reg.flags & IORING_RSRC_REGISTER_SPARSE ? 0 : (uintptr_t)reg.data, reg.nr);
}

/* Some of a table. The kernel says how many it has done, if any. */
static bool updates(long a[6], long *result)
{
	const bool by_index = (uint32_t)a[1] & URING_REGISTER_REGISTERED;
	struct io_uring_rsrc_update2 up;
	struct uring_ring *r = uring_look_up((uint32_t)a[0], by_index);
	struct buffers b = {0};

	if (check_read(&up, (uintptr_t)a[2], sizeof(up)) ||
	    !begin_all(&b, r, (uintptr_t)up.data, up.nr))
		return false;
	*result = check_call_make(SYS_io_uring_register, a);
	r = *result <= 0 ? NULL : uring_take((uint32_t)a[0], by_index);
	if (r) {
		install(r, up.offset, &b, (uint32_t)*result);
		uring_unlock(r);
	}
	put_all(&b);
	return true;
}

static bool unregisters(long a[6])
{
	struct uring_ring *r =
		uring_take((uint32_t)a[0], (uint32_t)a[1] & URING_REGISTER_REGISTERED);

	if (r) {
		uring_forget_buffers(r);
		uring_unlock(r);
	}
	return false;
}

/* ------------------------------------------------------------------------------- another ring's buffers */

/* nr: 0 for all; set to how many there are. Takes a share of each. */
static bool share(struct uring_ring *r, uint32_t from, uint32_t *nr, struct buffers *b)
{
	if (!*nr && from < r->nr_buffers)
		*nr = r->nr_buffers - from;
	if (!*nr || from >= r->nr_buffers || *nr > r->nr_buffers - from || !make_room(b, *nr))
		return false;
	for (uint32_t i = 0; i < *nr; i++) {
		b->buffer[i] = r->buffer[from + i];
		if (b->buffer[i])
			__atomic_fetch_add(&b->buffer[i]->refs, 1, __ATOMIC_RELAXED);
	}
	return true;
}

/* They go over the destination's from `at` on, whose table grows. */
static void adopt(struct uring_ring *r, uint32_t at, struct buffers *b)
{
	struct buffers larger;

	if (at + b->nr > r->nr_buffers) {
		if (!make_room(&larger, at + b->nr))
			return;
		if (r->buffer) {
			struct buffers was = {r->buffer, r->nr_buffers};

			memcpy(larger.buffer, was.buffer, was.nr * sizeof(*was.buffer));
			free_room(&was);
		}
		r->buffer = larger.buffer;
		r->nr_buffers = larger.nr;
	}
	for (uint32_t i = 0; i < b->nr; i++) {
		struct uring_buffer *is = b->buffer[i];

		b->buffer[i] = r->buffer[at + i];
		r->buffer[at + i] = is;
	}
}

static bool clones(long a[6], long *result)
{
	struct uring_clone_buffers c;
	struct uring_ring *from, *to;
	struct buffers b = {0};
	bool known;

	if (check_read(&c, (uintptr_t)a[2], sizeof(c)) || c.dst_off > URING_MAX_BUFFERS)
		return false;
	from = uring_take(c.src_fd, c.flags & URING_CLONE_SRC_REGISTERED);
	known = from && share(from, c.src_off, &c.nr, &b);
	if (from)
		uring_unlock(from);
	*result = check_call_make(SYS_io_uring_register, a);
	to = *result < 0 ? NULL
			 : uring_take((uint32_t)a[0], (uint32_t)a[1] & URING_REGISTER_REGISTERED);
	if (to && known)
		adopt(to, c.dst_off, &b);
	else if (to)
		uring_forget_buffers(to);
	if (to)
		uring_unlock(to);
	if (b.buffer)
		put_all(&b);
	return true;
}

/* -------------------------------------------------------------------------------- registered indices */

#define NR_INDICES(a) ((uint32_t)(a)[3])

static bool registers_fds(long a[6], long *result)
{
	struct io_uring_rsrc_update up;

	if (NR_INDICES(a) > URING_MAX_REGISTERED_FDS)
		return false;
	*result = check_call_make(SYS_io_uring_register, a);
	/* The kernel has written which indices it has chosen. */
	for (long i = 0; i < *result; i++)
		if (!check_read(&up, (uintptr_t)a[2] + (uintptr_t)i * sizeof(up), sizeof(up)))
			uring_set_registered(up.offset, uring_look_up((uint32_t)up.data, false));
	return true;
}

/* What is forgotten before the call may be the ring that it is made through. */
static bool unregisters_fds(long a[6])
{
	struct io_uring_rsrc_update up;

	for (uint32_t i = 0; i < NR_INDICES(a) && i < URING_MAX_REGISTERED_FDS; i++)
		if (!check_read(&up, (uintptr_t)a[2] + i * sizeof(up), sizeof(up)))
			uring_set_registered(up.offset, NULL);
	return false;
}

/* Our view is of the old ring. Its buffers stay registered, but what is submitted is not seen any more. */
static bool resizes(long a[6])
{
	struct uring_ring *r =
		uring_take((uint32_t)a[0], (uint32_t)a[1] & URING_REGISTER_REGISTERED);

	if (r) {
		uring_forget_flights(r);
		uring_view_close(r);
		uring_unlock(r);
	}
	return false;
}

bool check_uring_register(long a[6], long *result)
{
	const uint32_t op = (uint32_t)a[1] & ~URING_REGISTER_REGISTERED;

	if (op == IORING_REGISTER_RING_FDS)
		return registers_fds(a, result);
	if (op == IORING_UNREGISTER_RING_FDS)
		return unregisters_fds(a);
	if (!uring_look_up((uint32_t)a[0], (uint32_t)a[1] & URING_REGISTER_REGISTERED))
		return false;
	switch (op) {
	case IORING_REGISTER_BUFFERS:
		return registers(a, result, (uintptr_t)a[2], (uint32_t)a[3]);
	case IORING_REGISTER_BUFFERS2:
		return registers2(a, result);
	case IORING_REGISTER_BUFFERS_UPDATE:
		return updates(a, result);
	case IORING_UNREGISTER_BUFFERS:
		return unregisters(a);
	case URING_REGISTER_CLONE_BUFFERS:
		return clones(a, result);
	case URING_REGISTER_RESIZE_RINGS:
		return resizes(a);
	default:
		return false;
	}
}
