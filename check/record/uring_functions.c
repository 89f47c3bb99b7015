/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * liburing's functions, where dispatch does not catch a thread: liburing enters the kernel by instructions of its own. What
 * its ring is, what is registered, and what is submitted is looked at around the real functions: all of versions 2.3 to
 * 2.15 that register memory, make, change or end rings, or submit. Some call others of them by name, as their build may
 * have it, so what has been seen already is seen twice. A ring with SQPOLL is left as it is then, and its requests are not
 * seen.
 */
#include <errno.h>
#include <liburing.h>
#include <sys/syscall.h>

#include "check/record/uncaught.h"
#include "check/record/uring_internal.h"
#include "os/behind.h"

#define EXPORTED __attribute__((visibility("default")))
#define LIBRARY	 "liburing.so.2"

/* Calls what is behind. A program that only asks whether the function is there may have nothing there. */
#define NEXT_OF(caller, name, ...)                                                \
	__extension__({                                                           \
		__typeof__(&(name)) call_ = MRN_BEHIND_OF(caller, name, LIBRARY); \
                                                                                  \
		call_ ? call_(__VA_ARGS__) : -ENOSYS;                             \
	})
#define NEXT(name, ...) NEXT_OF(__builtin_return_address(0), name, __VA_ARGS__)

/* Newer than the headers of Debian 12. */
struct io_uring_buf_ring;
int io_uring_close_ring_fd(struct io_uring *ring);
struct io_uring_buf_ring *io_uring_setup_buf_ring(struct io_uring *ring, unsigned int entries,
						  int group, unsigned int flags, int *err);
int io_uring_free_buf_ring(struct io_uring *ring, struct io_uring_buf_ring *buffers,
			   unsigned int entries, int group);
int io_uring_queue_init_mem(unsigned int entries, struct io_uring *ring, struct io_uring_params *p,
			    void *memory, size_t size);
int io_uring_submit_and_wait_min_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
					 unsigned int nr, struct __kernel_timespec *ts,
					 unsigned int least, sigset_t *mask);
int io_uring_submit_and_wait_reg(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned int nr,
				 int index);
int io_uring_clone_buffers(struct io_uring *to, struct io_uring *from);
int io_uring_clone_buffers_offset(struct io_uring *to, struct io_uring *from, unsigned int to_index,
				  unsigned int from_index, unsigned int nr, unsigned int flags);
int __io_uring_clone_buffers(struct io_uring *to, struct io_uring *from, unsigned int flags);
int __io_uring_clone_buffers_offset(struct io_uring *to, struct io_uring *from,
				    unsigned int to_index, unsigned int from_index, unsigned int nr,
				    unsigned int flags);
int io_uring_resize_rings(struct io_uring *ring, struct io_uring_params *p);

/* The type of its last argument but one is not the same in all versions. */
int enter2(unsigned int fd, unsigned int submit, unsigned int wait, unsigned int flags,
	   const void *arg, size_t size) __asm__("io_uring_enter2");

/* ------------------------------------------------------------------------------------------- rings */

/* It may have no descriptor any more, but a registered index. */
static bool has_fd(const struct io_uring *ring)
{
	return ring->ring_fd >= 0;
}

static uint32_t number_of(const struct io_uring *ring)
{
	return (uint32_t)(has_fd(ring) ? ring->ring_fd : ring->enter_ring_fd);
}

static int init(const void *caller, unsigned int entries, struct io_uring *ring,
		struct io_uring_params *p)
{
	int r = NEXT_OF(caller, io_uring_queue_init_params, entries, ring, p);

	if (!r && check_is_uncaught())
		uring_made_by_library((uint32_t)ring->ring_fd, p);
	return r;
}

EXPORTED int io_uring_queue_init_params(unsigned int entries, struct io_uring *ring,
					struct io_uring_params *p)
{
	return init(__builtin_return_address(0), entries, ring, p);
}

EXPORTED int io_uring_queue_init(unsigned int entries, struct io_uring *ring, unsigned int flags)
{
	struct io_uring_params p = {.flags = flags};

	if (!check_is_uncaught())
		return NEXT(io_uring_queue_init, entries, ring, flags);
	return init(__builtin_return_address(0), entries, ring, &p);
}

/* Returns how much of the memory it has used. */
EXPORTED int io_uring_queue_init_mem(unsigned int entries, struct io_uring *ring,
				     struct io_uring_params *p, void *memory, size_t size)
{
	int r = NEXT(io_uring_queue_init_mem, entries, ring, p, memory, size);

	if (r >= 0 && check_is_uncaught())
		uring_made_by_library((uint32_t)ring->ring_fd, p);
	return r;
}

EXPORTED int io_uring_setup(unsigned int entries, struct io_uring_params *p)
{
	int r = NEXT(io_uring_setup, entries, p);

	if (r >= 0 && check_is_uncaught())
		uring_made_by_library((uint32_t)r, p);
	return r;
}

EXPORTED int io_uring_resize_rings(struct io_uring *ring, struct io_uring_params *p)
{
	if (check_is_uncaught())
		uring_resized_by_library(number_of(ring), !has_fd(ring));
	return NEXT(io_uring_resize_rings, ring, p);
}

static void closes(const struct io_uring *ring)
{
	long result;

	if (has_fd(ring))
		check_uncaught(SYS_close, ring->ring_fd, 0, 0, 0, &result);
	else if (check_is_uncaught())
		uring_set_registered(number_of(ring), NULL);
}

/* It goes on by its registered index, which this thread has given it. */
EXPORTED int io_uring_close_ring_fd(struct io_uring *ring)
{
	__typeof__(&io_uring_close_ring_fd) next = MRN_BEHIND(io_uring_close_ring_fd, LIBRARY);

	if (!next)
		return -ENOSYS;
	if (has_fd(ring) && ring->enter_ring_fd != ring->ring_fd && check_is_uncaught()) {
		uring_set_registered((uint32_t)ring->enter_ring_fd,
				     uring_look_up(number_of(ring), false));
		closes(ring);
	}
	return next(ring);
}

EXPORTED void io_uring_queue_exit(struct io_uring *ring)
{
	__typeof__(&io_uring_queue_exit) next = MRN_BEHIND(io_uring_queue_exit, LIBRARY);

	if (!next)
		return;
	closes(ring);
	next(ring);
}

/* ------------------------------------------------------------------------------------- registrations */

static bool registers(const struct io_uring *ring, unsigned int op, const void *arg,
		      unsigned int nr, long *result)
{
	return check_uncaught(SYS_io_uring_register, number_of(ring),
			      op | (has_fd(ring) ? 0 : URING_REGISTER_REGISTERED), (long)arg, nr,
			      result);
}

EXPORTED int io_uring_register(unsigned int fd, unsigned int op, const void *arg, unsigned int nr)
{
	long result;

	if (check_uncaught(SYS_io_uring_register, fd, op, (long)arg, nr, &result))
		return (int)result;
	return NEXT(io_uring_register, fd, op, arg, nr);
}

EXPORTED int io_uring_register_buffers(struct io_uring *ring, const struct iovec *iov,
				       unsigned int nr)
{
	long result;

	if (registers(ring, IORING_REGISTER_BUFFERS, iov, nr, &result))
		return (int)result;
	return NEXT(io_uring_register_buffers, ring, iov, nr);
}

EXPORTED int io_uring_register_buffers_tags(struct io_uring *ring, const struct iovec *iov,
					    const __u64 *tags, unsigned int nr)
{
	const struct io_uring_rsrc_register reg = {.nr = nr,
						   .data = (uintptr_t)iov,
						   .tags = (uintptr_t)tags};
	long result;

	if (registers(ring, IORING_REGISTER_BUFFERS2, &reg, sizeof(reg), &result))
		return (int)result;
	return NEXT(io_uring_register_buffers_tags, ring, iov, tags, nr);
}

EXPORTED int io_uring_register_buffers_sparse(struct io_uring *ring, unsigned int nr)
{
	const struct io_uring_rsrc_register reg = {.nr = nr, .flags = IORING_RSRC_REGISTER_SPARSE};
	long result;

	if (registers(ring, IORING_REGISTER_BUFFERS2, &reg, sizeof(reg), &result))
		return (int)result;
	return NEXT(io_uring_register_buffers_sparse, ring, nr);
}

EXPORTED int io_uring_register_buffers_update_tag(struct io_uring *ring, unsigned int offset,
						  const struct iovec *iov, const __u64 *tags,
						  unsigned int nr)
{
	const struct io_uring_rsrc_update2 up = {.offset = offset,
						 .nr = nr,
						 .data = (uintptr_t)iov,
						 .tags = (uintptr_t)tags};
	long result;

	if (registers(ring, IORING_REGISTER_BUFFERS_UPDATE, &up, sizeof(up), &result))
		return (int)result;
	return NEXT(io_uring_register_buffers_update_tag, ring, offset, iov, tags, nr);
}

EXPORTED int io_uring_unregister_buffers(struct io_uring *ring)
{
	long result;

	registers(ring, IORING_UNREGISTER_BUFFERS, NULL, 0, &result);
	return NEXT(io_uring_unregister_buffers, ring);
}

static int clones(const void *caller, struct io_uring *to, struct io_uring *from,
		  const struct uring_clone_buffers *part)
{
	struct uring_clone_buffers c = *part;
	long result;

	c.src_fd = number_of(from);
	c.flags &= ~URING_CLONE_SRC_REGISTERED;
	if (!has_fd(from))
		c.flags |= URING_CLONE_SRC_REGISTERED;
	if (registers(to, URING_REGISTER_CLONE_BUFFERS, &c, 1, &result))
		return (int)result;
	return NEXT_OF(caller, __io_uring_clone_buffers_offset, to, from, c.dst_off, c.src_off,
		       c.nr, part->flags);
}

#define CLONES(to, from, ...)                             \
	clones(__builtin_return_address(0), (to), (from), \
	       &(const struct uring_clone_buffers){__VA_ARGS__})

EXPORTED int io_uring_clone_buffers(struct io_uring *to, struct io_uring *from)
{
	if (!check_is_uncaught())
		return NEXT(io_uring_clone_buffers, to, from);
	return CLONES(to, from, 0);
}

EXPORTED int io_uring_clone_buffers_offset(struct io_uring *to, struct io_uring *from,
					   unsigned int to_index, unsigned int from_index,
					   unsigned int nr, unsigned int flags)
{
	if (!check_is_uncaught())
		return NEXT(io_uring_clone_buffers_offset, to, from, to_index, from_index, nr,
			    flags);
	return CLONES(to, from, .dst_off = to_index, .src_off = from_index, .nr = nr,
		      .flags = flags);
}

EXPORTED int __io_uring_clone_buffers(struct io_uring *to, struct io_uring *from,
				      unsigned int flags)
{
	if (!check_is_uncaught())
		return NEXT(__io_uring_clone_buffers, to, from, flags);
	return CLONES(to, from, .flags = flags);
}

EXPORTED int __io_uring_clone_buffers_offset(struct io_uring *to, struct io_uring *from,
					     unsigned int to_index, unsigned int from_index,
					     unsigned int nr, unsigned int flags)
{
	if (!check_is_uncaught())
		return NEXT(__io_uring_clone_buffers_offset, to, from, to_index, from_index, nr,
			    flags);
	return CLONES(to, from, .dst_off = to_index, .src_off = from_index, .nr = nr,
		      .flags = flags);
}

/* --------------------------------------------------------------------------------- provided buffers */

EXPORTED int io_uring_register_buf_ring(struct io_uring *ring, struct io_uring_buf_reg *reg,
					unsigned int flags)
{
	int r = NEXT(io_uring_register_buf_ring, ring, reg, flags);
	struct io_uring_buf_reg made;

	/* Which has the flags, if liburing takes them. */
	if (!r && check_is_uncaught() && !check_read(&made, (uintptr_t)reg, sizeof(made)))
		uring_group_made_by_library(number_of(ring), !has_fd(ring), &made);
	return r;
}

static void unregisters_group(const struct io_uring *ring, int group)
{
	const struct io_uring_buf_reg reg = {.bgid = (uint16_t)group};
	long result;

	registers(ring, IORING_UNREGISTER_PBUF_RING, &reg, 1, &result);
}

EXPORTED int io_uring_unregister_buf_ring(struct io_uring *ring, int group)
{
	unregisters_group(ring, group);
	return NEXT(io_uring_unregister_buf_ring, ring, group);
}

EXPORTED struct io_uring_buf_ring *io_uring_setup_buf_ring(struct io_uring *ring,
							   unsigned int entries, int group,
							   unsigned int flags, int *err)
{
	__typeof__(&io_uring_setup_buf_ring) next = MRN_BEHIND(io_uring_setup_buf_ring, LIBRARY);
	struct io_uring_buf_ring *buffers;

	if (!next) {
		*err = -ENOSYS;
		return NULL;
	}
	buffers = next(ring, entries, group, flags, err);
	if (buffers && check_is_uncaught())
		uring_group_made_by_library(
			number_of(ring), !has_fd(ring),
			&(const struct io_uring_buf_reg){.ring_addr = (uintptr_t)buffers,
							 .ring_entries = entries,
							 .bgid = (uint16_t)group,
							 .pad = (uint16_t)flags});
	return buffers;
}

EXPORTED int io_uring_free_buf_ring(struct io_uring *ring, struct io_uring_buf_ring *buffers,
				    unsigned int entries, int group)
{
	unregisters_group(ring, group);
	return NEXT(io_uring_free_buf_ring, ring, buffers, entries, group);
}

/* --------------------------------------------------------------------------------------- submissions */

EXPORTED int io_uring_enter(unsigned int fd, unsigned int submit, unsigned int wait,
			    unsigned int flags, sigset_t *mask)
{
	long result;

	if (check_uncaught(SYS_io_uring_enter, fd, submit, wait, flags, &result))
		return (int)result;
	return NEXT(io_uring_enter, fd, submit, wait, flags, mask);
}

EXPORTED int enter2(unsigned int fd, unsigned int submit, unsigned int wait, unsigned int flags,
		    const void *arg, size_t size)
{
	__typeof__(&enter2) next =
		MRN_BEHIND_NAMED(__builtin_return_address(0), enter2, "io_uring_enter2", LIBRARY);
	long result;

	if (check_uncaught(SYS_io_uring_enter, fd, submit, wait, flags, &result))
		return (int)result;
	return next ? next(fd, submit, wait, flags, arg, size) : -ENOSYS;
}

/* liburing tells the kernel of its requests only inside the call. */
static void submits(const struct io_uring *ring)
{
	if (check_is_uncaught())
		uring_submitted_by_library(number_of(ring), !has_fd(ring), ring->sq.sqe_tail);
}

EXPORTED int io_uring_submit(struct io_uring *ring)
{
	submits(ring);
	return NEXT(io_uring_submit, ring);
}

EXPORTED int io_uring_submit_and_wait(struct io_uring *ring, unsigned int nr)
{
	submits(ring);
	return NEXT(io_uring_submit_and_wait, ring, nr);
}

EXPORTED int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
					      unsigned int nr, struct __kernel_timespec *ts,
					      sigset_t *mask)
{
	submits(ring);
	return NEXT(io_uring_submit_and_wait_timeout, ring, cqe, nr, ts, mask);
}

EXPORTED int io_uring_submit_and_get_events(struct io_uring *ring)
{
	submits(ring);
	return NEXT(io_uring_submit_and_get_events, ring);
}

EXPORTED int io_uring_submit_and_wait_min_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
						  unsigned int nr, struct __kernel_timespec *ts,
						  unsigned int least, sigset_t *mask)
{
	submits(ring);
	return NEXT(io_uring_submit_and_wait_min_timeout, ring, cqe, nr, ts, least, mask);
}

EXPORTED int io_uring_submit_and_wait_reg(struct io_uring *ring, struct io_uring_cqe **cqe,
					  unsigned int nr, int index)
{
	submits(ring);
	return NEXT(io_uring_submit_and_wait_reg, ring, cqe, nr, index);
}
