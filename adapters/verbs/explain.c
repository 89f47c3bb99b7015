/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include <mrn/verbs.h>

const char *mrn_verbs_explain(int error)
{
	switch (error < 0 ? -error : error) {
	case 0:
		return "no error";
	case ENOMEM:
		return "pinning the memory would go over RLIMIT_MEMLOCK, or the device has no room, and "
		       "nothing idle is left to evict: raise the limit (ulimit -l), or transfer through "
		       "a buffer that is registered already";
	case ENOSPC:
		return "every region, or every byte of max_bytes, is in use: put regions sooner, ask for "
		       "more of them, or transfer through a buffer that is registered already";
	case EFAULT:
		return "part of the range is not mapped, or cannot be pinned for the device: memory that "
		       "is not writable, a shared mapping of a file on disk, device memory; transfer "
		       "through a buffer that is registered already";
	case EINVAL:
		return "the length is 0 or, in whole pages, more than the device has for one region, or no "
		       "access was asked for, or the device does not know a flag: split the transfer";
	case EOVERFLOW:
		return "the range goes past the end of the address space";
	case EAGAIN:
		return "the memory kept changing while it was being registered: try again, or transfer "
		       "through a buffer that is registered already";
	case EDEADLK:
		return "called from an invalidation callback, or inside an invalidation of the same range: "
		       "get the region after it";
	case ESTALE:
		return "this is a forked child, and the device's regions are its parent's: open the device "
		       "in the child";
	case ENOTCONN:
		return "the source that watched this process's memory has been detached: attach one and "
		       "begin again";
	case EBUSY:
		return "a region is still held, or the device refuses to deregister one: put each one, "
		       "unbind its memory windows, and destroy the cache before the protection domain";
	default:
		return "the device refused to register the memory: transfer through a buffer that is "
		       "registered already";
	}
}
