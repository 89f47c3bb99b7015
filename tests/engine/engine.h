/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A storage engine of four threads, written as if fixed buffers could be had in any memory: all its buffers come from
 * malloc, each thread has a ring, and some buffers are freed by another thread than the one that has allocated them.
 */
#ifndef TESTS_ENGINE_ENGINE_H
#define TESTS_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

struct engine_opts {
	uint64_t transfers; /* at least so many */
	bool registered;    /* by libmrn-uring; else there is no source, and transfers are plain */
	unsigned int flags; /* of the rings' caches */
	bool short_lived; /* buffers are freed after a few transfers, and malloc trims as often as it can */
};

struct engine_figures {
	uint64_t transfers;
	uint64_t stale;	       /* of these: moved other bytes than the right ones */
	uint64_t unregistered; /* of these: got no fixed buffer */
	uint64_t hits, misses, invalidations, use_once, retries;
	uint64_t pinned;   /* bytes, at most; a page counts once for each registration of it */
	uint64_t resident; /* bytes of this process, at most */
};

/* Once in a process. */
void engine_run(const struct engine_opts *opts, struct engine_figures *figures);

#endif
