/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn as the memory monitor of libfabric (1.14 or later), which stays as it is: its cache of memory registrations asks
 * this library, before each reuse, whether the memory is still the same. Link with -lmrn-libfabric and -lmrn-interpose, and
 * call mrn_libfabric_install before the first domain is opened; or preload libmrn-libfabric-preload.so, which does it.
 *
 * docs/libfabric.md says how it works, which providers have that cache, and how to see that it is in use.
 */
#ifndef MRN_LIBFABRIC_H
#define MRN_LIBFABRIC_H

#include <mrn/source.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mrn_libfabric_opts {
	size_t size;		 /* sizeof(struct mrn_libfabric_opts) */
	unsigned int kinds;	 /* MRN_SOURCE_...; 0 means MRN_SOURCE_AUTO */
	uint64_t need;		 /* coverage bits; 0 means MRN_COVER_PAGES */
	unsigned int max_ranges; /* watched at one time; 0 means 4096, at most 65536 */
	char *why;		 /* receives one sentence when install fails; or NULL */
	size_t why_size;	 /* bytes */
};

/*
 * Attaches a source and makes mrn libfabric's memory monitor, for the life of the process: libfabric takes one monitor,
 * once. opts may be NULL.
 *
 * Choose max_ranges larger than FI_MR_CACHE_MAX_COUNT (1024 by default), or the ranges that were found valid least
 * recently lose their registrations. Each takes some 300 bytes of address space, which are touched when it is used.
 *
 * Errors: -EINVAL; -E2BIG (size); -EALREADY, it is installed; -ENOSYS when libfabric is older than 1.14 or takes no monitor;
 * -EBUSY when somebody else's monitor is there, a domain with a cache is open, FI_MR_CACHE_MONITOR chooses another one, or
 * another thread is just installing it; those of mrn_source_attach; -ENOMEM; -EAGAIN when no thread can be made. opts->why
 * then says what is in the way. Nothing is changed then, but that a sleeping thread may stay. Blocks; allocates. Not from a
 * callback or a signal handler.
 */
int mrn_libfabric_install(const struct mrn_libfabric_opts *opts);

/*
 * Watches [addr, addr + length) from now on, because this thread is about to register exactly this range. Whoever knows
 * when a registration begins calls it: libmrn-libfabric-preload.so does, in front of ibv_reg_mr and the like. libfabric
 * itself says so only afterwards; so without this call, the first registration of a range is not kept.
 *
 * Does nothing unless installed, and in a forked child. Never fails. May block for the kernel's mmap lock and for
 * libfabric's locks: not from a callback, a signal handler, nor inside libfabric's own cache. Preserves errno.
 */
void mrn_libfabric_begin(const void *addr, size_t length);

/* The attached source, for mrn_source_name, mrn_source_why_once and the like; NULL unless installed. Do not detach it. */
struct mrn_source *mrn_libfabric_source(void);

struct mrn_libfabric_stats {
	uint64_t begun;	      /* calls of mrn_libfabric_begin */
	uint64_t kept;	      /* registrations that libfabric was told to keep */
	uint64_t refused;     /* and that it was told not to keep */
	uint64_t found;	      /* lookups of a kept one: it was valid */
	uint64_t stale;	      /* and: it was not, or perhaps not */
	uint64_t invalidated; /* watched ranges that have changed */
	uint64_t dropped;     /* ranges no longer watched: they had changed, or made room */
	uint64_t use_once;    /* watching a range failed: it is good for one use at a time */
	uint64_t full;	      /* there was no room to watch a range */
	uint64_t
		fork_unsafe; /* 1: nothing is kept, since fork may take pinned pages away: see docs/libfabric.md */
	uint64_t ranges; /* watched now, or remembered */
};

/* Fills *stats, of which size bytes are the caller's. 0; -EINVAL; -ENOTCONN unless installed. Does not block. */
int mrn_libfabric_get_stats(struct mrn_libfabric_stats *stats, size_t size);

#ifdef __cplusplus
}
#endif

#endif
