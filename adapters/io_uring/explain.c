/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include <mrn/io_uring.h>

const char *mrn_uring_explain(int error)
{
	switch (error < 0 ? -error : error) {
	case 0:
		return "no error";
	case ENOMEM:
		return "pinning the memory would go over RLIMIT_MEMLOCK, and nothing idle is left to "
		       "evict: raise the limit (ulimit -l), use smaller buffers, or transfer without a "
		       "registration";
	case ENOSPC:
		return "every slot of the ring's buffer table, or every byte of max_bytes, is in use: put "
		       "buffers sooner, ask for more slots, or transfer without a registration";
	case EFAULT:
		return "part of the range is not mapped, or cannot be pinned for a device: memory that is "
		       "not writable, a shared mapping of a file on disk, device memory; transfer "
		       "without a registration";
	case EINVAL:
		return "the length is 0 or, in whole pages, more than the 1 GiB that a fixed buffer may "
		       "have, or no access was asked for: split the transfer";
	case EOVERFLOW:
		return "the range goes past the end of the address space";
	case EAGAIN:
		return "the memory kept changing while it was being registered: try again, or transfer "
		       "without a registration";
	case EDEADLK:
		return "called from an invalidation callback, or inside an invalidation of the same range: "
		       "get the buffer after it";
	case ESTALE:
		return "this is a forked child, and the ring and its buffers are its parent's: make the "
		       "child's own";
	case ENOTCONN:
		return "the source that watched this process's memory has been detached: attach one and "
		       "begin again";
	case EBADF:
		return "the ring's descriptor has been closed, or is another file's by now: close the ring, "
		       "as io_uring_queue_exit does, after mrn_uring_destroy";
	case EBUSY:
		return "a buffer is still held: put each one, and destroy the cache before the ring";
	case ENXIO:
		return "the ring has no buffer table any more: leave io_uring_unregister_buffers to "
		       "mrn_uring_destroy";
	case EEXIST:
		return "the ring was made with IORING_SETUP_SINGLE_ISSUER and belongs to another thread: "
		       "get and put buffers in that thread";
	default:
		return "the kernel refused to register the memory: transfer without a registration";
	}
}
