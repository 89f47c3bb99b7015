/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include <mrn/fabric.h>

const char *mrn_fabric_explain(int error)
{
	switch (error < 0 ? -error : error) {
	case 0:
		return "no error";
	case ENOMEM:
		return "the provider has no room, or pinning would go over RLIMIT_MEMLOCK, and nothing "
		       "idle is left to evict: raise the limit (ulimit -l), or use smaller ranges";
	case ENOSPC:
		return "every registration, or every byte of max_bytes, is in use: put registrations "
		       "sooner, or ask for more";
	case EFAULT:
		return "part of the range is not mapped, or the provider's device cannot have it";
	case EINVAL:
		return "the length is 0, no access was asked for, or the provider refuses the range";
	case EACCES:
		return "this cache was made without rights for peers (access): nothing of it can be "
		       "shared";
	case EOPNOTSUPP:
		return "nobody would hear of a change of this memory, so that its key cannot be shared: "
		       "register it for each transfer (mrn_source_why_once says why)";
	case EOVERFLOW:
		return "the range goes past the end of the address space";
	case EAGAIN:
		return "the memory kept changing while it was being registered: try again";
	case ENOKEY:
		return "the program has taken all keys that were tried for itself";
	case EDEADLK:
		return "called from an invalidation callback, or inside an invalidation of the same "
		       "range: call it afterwards";
	case ESTALE:
		return "this is a forked child, and the domain is its parent's: make the child's own";
	case ENOTCONN:
		return "the source that watched this process's memory has been detached: attach one and "
		       "begin again";
	case EBUSY:
		return "a registration is still held or shared, or the provider refuses to close one";
	default:
		return "the provider refused to register the memory";
	}
}
