/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn as what tells UCX of memory changes, in place of UCX's own hooks. UCX's registration caches stay UCX's: each change
 * that takes pages away is passed on to them, before it happens and again after it. Link with -lmrn-ucx. UCX 1.13 or later.
 *
 * UCX patches libc's functions while libucs is loaded, unless UCX_MEM_MMAP_HOOK_MODE=none is in the environment by then:
 * set it before the program starts. `mrn run --for ucx -- PROGRAM` does that, and installs this in a program that knows
 * nothing of it.
 */
#ifndef MRN_UCX_H
#define MRN_UCX_H

#include <mrn/source.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mrn_ucx_opts {
	size_t size; /* sizeof(struct mrn_ucx_opts) */
	/*
	 * MRN_SOURCE_DISPATCH, MRN_SOURCE_INTERPOSE or both; MRN_SOURCE_AUTO means dispatch where it works, else interpose.
	 * Not MRN_SOURCE_UFFD: it sees only ranges that are armed, and UCX does not tell what it registers.
	 */
	unsigned int kinds;
	/*
	 * Coverage bits without which installing fails; each must be bracketed. 0 means MRN_UCX_NEED. Ask for
	 * MRN_COVER_ALL_CALLERS if calls made inside libc or past it must not be missed.
	 */
	uint64_t need;
	char *why; /* receives one sentence when install fails; or NULL */
	size_t why_size;
};

/* Every call through libc's functions that puts other pages under a registration. */
#define MRN_UCX_NEED (MRN_COVER_INTERPOSE & ~MRN_COVER_PAGE_CACHE)

/*
 * Tells UCX that UCM_EVENT_VM_UNMAPPED comes from outside, attaches a source, and passes on what it announces. opts may be
 * NULL. Call it before the first UCX context is made; there is no way back, since UCX's caches rely on it from then on.
 * Without it, and with UCX_MEM_MMAP_HOOK_MODE=none, UCX makes no registration cache, so an error costs time, not data.
 *
 * Errors: -EINVAL; -E2BIG (size); -EALREADY in a process that has installed it; -EBUSY when UCX's own hooks are active;
 * -EOPNOTSUPP when UCX takes no events (UCX_MEM_EVENTS=n), when a cause in need is not bracketed, or when UCX's own test
 * of external events fails; otherwise those of mrn_source_attach and mmu_notifier_register. A child of fork is told of
 * nothing until it installs it again, and must do so before it makes a context: its UCX still takes the parent's word that
 * it is told. If that fails there, this is taken back, and UCX makes no cache. Blocks, allocates. Not from a callback or a signal handler.
 */
int mrn_ucx_install(const struct mrn_ucx_opts *opts);

/*
 * The source that install has attached, for mrn_source_name, mrn_source_coverage, mrn_source_check and the like: do not
 * detach it. NULL before install, and in a child of fork. Does not block; from anywhere.
 */
struct mrn_source *mrn_ucx_source(void);

struct mrn_ucx_stats {
	uint64_t announced; /* changes that UCX was told of */
	/*
	 * Of these, how many were made by a thread that was inside UCX for an earlier change, as in a signal handler: UCX was
	 * told when it had returned.
	 */
	uint64_t deferred;
	/* Coverage bits that the source has lost since (struct mrn_source_loss): UCX is not told of these causes. */
	uint64_t lost;
};

/* Fills *stats, of which size bytes are the caller's. 0 or -EINVAL. Does not block; from anywhere. */
int mrn_ucx_get_stats(struct mrn_ucx_stats *stats, size_t size);

#ifdef __cplusplus
}
#endif

#endif
