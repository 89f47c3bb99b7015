/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * liburing's functions, where dispatch does not catch a thread: liburing enters the kernel by instructions of its own. What
 * its ring is, what is registered, and what is submitted is looked at around the real functions. A ring with SQPOLL is
 * left as it is then, and its requests are not seen.
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

EXPORTED void io_uring_queue_exit(struct io_uring *ring)
{
	__typeof__(&io_uring_queue_exit) next = MRN_BEHIND(io_uring_queue_exit, LIBRARY);
	long result;

	if (!next)
		return;
	check_uncaught(SYS_close, ring->ring_fd, 0, 0, 0, &result);
	next(ring);
}

/* ------------------------------------------------------------------------------------- registrations */

static bool registers(const struct io_uring *ring, unsigned int op, const void *arg,
		      unsigned int nr, long *result)
{
	return check_uncaught(SYS_io_uring_register, ring->ring_fd, op, (long)arg, nr, result);
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

/* --------------------------------------------------------------------------------------- submissions */

/* liburing tells the kernel of its requests only inside the call. */
static void submits(const struct io_uring *ring)
{
	if (check_is_uncaught())
		uring_submitted_by_library((uint32_t)ring->ring_fd, ring->sq.sqe_tail);
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
