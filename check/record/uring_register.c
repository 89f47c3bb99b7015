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

static bool make_room(struct uring_buffers *b, uint32_t nr)
{
	b->nr = nr;
	b->buffer = mrn_pages_alloc(nr * sizeof(*b->buffer));
	return b->buffer;
}

static void free_room(struct uring_buffers *b)
{
	if (b->buffer)
		mrn_pages_free(b->buffer, b->nr * sizeof(*b->buffer));
	*b = (struct uring_buffers){0};
}

/* Begins what the program is about to register with a ring. False if it cannot be followed. */
static bool begin_all(struct uring_buffers *b, const struct uring_ring *r, uintptr_t vector,
		      uint32_t nr)
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

void uring_put_buffers(struct uring_buffers *b)
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

struct uring_buffers uring_take_buffers(struct uring_ring *r)
{
	const struct uring_buffers was = r->buffers;

	r->buffers = (struct uring_buffers){0};
	return was;
}

struct check_reg *uring_registered(const struct uring_ring *r, uint32_t index)
{
	return index < r->buffers.nr && r->buffers.buffer[index] ? r->buffers.buffer[index]->reg
								 : NULL;
}

/* The kernel has registered the first `done` of them from `at` on. Others, and those that they replace, end. */
static void install(struct uring_ring *r, uint32_t at, struct uring_buffers *b, uint32_t done)
{
	for (uint32_t i = 0; i < done && i < b->nr && at + i < r->buffers.nr; i++) {
		struct uring_buffer *is = b->buffer[i];

		if (is)
			check_reg_done(is->reg, at + i);
		b->buffer[i] = r->buffers.buffer[at + i];
		r->buffers.buffer[at + i] = is;
	}
}

/* A new table. */
static bool registers(long a[6], long *result, uintptr_t vector, uint32_t nr)
{
	const bool by_index = (uint32_t)a[1] & URING_REGISTER_REGISTERED;
	struct uring_ring *r = uring_look_up((uint32_t)a[0], by_index);
	struct uring_buffers b = {0}, was;

	if (!begin_all(&b, r, vector, nr))
		return false;
	*result = check_call_make(SYS_io_uring_register, a);
	r = *result < 0 ? NULL : uring_take((uint32_t)a[0], by_index);
	if (!r) {
		uring_put_buffers(&b);
		return true;
	}
	was = uring_take_buffers(r);
	for (uint32_t i = 0; i < nr; i++)
		if (b.buffer[i])
			check_reg_done(b.buffer[i]->reg, i);
	r->buffers = b;
	check_unlock(&r->lock);
	uring_put_buffers(&was);
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
	struct uring_buffers b = {0};

	if (check_read(&up, (uintptr_t)a[2], sizeof(up)) ||
	    !begin_all(&b, r, (uintptr_t)up.data, up.nr))
		return false;
	*result = check_call_make(SYS_io_uring_register, a);
	r = *result <= 0 ? NULL : uring_take((uint32_t)a[0], by_index);
	if (r) {
		install(r, up.offset, &b, (uint32_t)*result);
		check_unlock(&r->lock);
	}
	uring_put_buffers(&b);
	return true;
}

static bool unregisters(long a[6])
{
	struct uring_ring *r =
		uring_take((uint32_t)a[0], (uint32_t)a[1] & URING_REGISTER_REGISTERED);

	struct uring_buffers was;

	if (!r)
		return false;
	was = uring_take_buffers(r);
	check_unlock(&r->lock);
	uring_put_buffers(&was);
	return false;
}

/* ------------------------------------------------------------------------------- another ring's buffers */

/* nr: 0 for all; set to how many there are. Takes a share of each. */
static bool share(struct uring_ring *r, uint32_t from, uint32_t *nr, struct uring_buffers *b)
{
	if (!*nr && from < r->buffers.nr)
		*nr = r->buffers.nr - from;
	if (!*nr || from >= r->buffers.nr || *nr > r->buffers.nr - from || !make_room(b, *nr))
		return false;
	for (uint32_t i = 0; i < *nr; i++) {
		b->buffer[i] = r->buffers.buffer[from + i];
		if (b->buffer[i])
			__atomic_fetch_add(&b->buffer[i]->refs, 1, __ATOMIC_RELAXED);
	}
	return true;
}

/*
 * They go over the destination's from `at` on, whose table grows. b is what they replace. Without memory for that,
 * what the destination has is not known.
 */
static void adopt(struct uring_ring *r, uint32_t at, struct uring_buffers *b)
{
	struct uring_buffers larger;

	if (at + b->nr > r->buffers.nr) {
		if (!make_room(&larger, at + b->nr))
			return;
		if (r->buffers.buffer)
			memcpy(larger.buffer, r->buffers.buffer,
			       r->buffers.nr * sizeof(*larger.buffer));
		free_room(&r->buffers);
		r->buffers = larger;
	}
	for (uint32_t i = 0; i < b->nr; i++) {
		struct uring_buffer *is = b->buffer[i];

		b->buffer[i] = r->buffers.buffer[at + i];
		r->buffers.buffer[at + i] = is;
	}
}

static bool clones(long a[6], long *result)
{
	struct uring_clone_buffers c;
	struct uring_ring *from, *to;
	struct uring_buffers b = {0};
	bool known;

	if (check_read(&c, (uintptr_t)a[2], sizeof(c)) || c.dst_off > URING_MAX_BUFFERS)
		return false;
	from = uring_take(c.src_fd, c.flags & URING_CLONE_SRC_REGISTERED);
	known = from && share(from, c.src_off, &c.nr, &b);
	if (from)
		check_unlock(&from->lock);
	*result = check_call_make(SYS_io_uring_register, a);
	to = *result < 0 ? NULL
			 : uring_take((uint32_t)a[0], (uint32_t)a[1] & URING_REGISTER_REGISTERED);
	/* What it has now is not known: nor is what it had. */
	if (to && known)
		adopt(to, c.dst_off, &b);
	else if (to)
		b = uring_take_buffers(to);
	if (to)
		check_unlock(&to->lock);
	uring_put_buffers(&b);
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

/*
 * Our view is of the old ring. Its buffers stay registered, but what is submitted is not seen any more; nor is what
 * others submit meanwhile.
 */
static bool resizes(long a[6], long *result)
{
	struct uring_ring *r =
		uring_take((uint32_t)a[0], (uint32_t)a[1] & URING_REGISTER_REGISTERED);
	bool was_seen;

	if (!r)
		return false;
	was_seen = r->is_seen;
	r->is_seen = false;
	check_unlock(&r->lock);
	*result = check_call_make(SYS_io_uring_register, a);
	if (!check_lock(&r->lock))
		return true;
	if (*result < 0) {
		r->is_seen = was_seen;
	} else if (was_seen) {
		uring_forget_flights(r);
		uring_view_close(r);
	}
	check_unlock(&r->lock);
	return true;
}

void uring_resized_by_library(uint32_t fd, bool is_registered)
{
	struct uring_ring *r = uring_take(fd, is_registered);

	if (!r)
		return;
	if (r->is_seen) {
		uring_forget_flights(r);
		uring_view_close(r);
	}
	check_unlock(&r->lock);
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
	case IORING_REGISTER_PBUF_RING:
		return uring_registers_group(a, result);
	case IORING_UNREGISTER_PBUF_RING:
		return uring_unregisters_group(a);
	case URING_REGISTER_CLONE_BUFFERS:
		return clones(a, result);
	case URING_REGISTER_RESIZE_RINGS:
		return resizes(a, result);
	default:
		return false;
	}
}
