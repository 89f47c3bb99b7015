/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A row's contenders, each in a process of its own: a new one for each round, so that nothing of a round is left for
 * another, and the order of the rows does not matter.
 */
#ifndef BENCH_REGCACHE_CONTEST_H
#define BENCH_REGCACHE_CONTEST_H

#include <stddef.h>

#include "bench/bench.h"
#include "bench/regcache/work.h"

#define CONTEST_MRN   "mrn-bench-cache"
#define CONTEST_PLAIN "mrn-bench-plain"
#define CONTEST_UCX   "mrn-bench-ucx"

struct contestant {
	const char *name, *program;
	struct work w;
};

/* Contestants of the same work. */
struct contestant contest_mrn(const struct work *w);
struct contestant contest_ucx(const struct work *w);
struct contestant contest_plain(const struct work *w, enum work_plain which);

/* Whether UCX's cache was built in. */
bool contest_has_ucx(void);

/*
 * Measures them by turns, ours first. 0 or -errno with a sentence in why; -EBADMSG if our device has read something
 * stale.
 */
int contest_measure(struct bench_table *table, const char *name, uint64_t n,
		    const struct contestant *contestants, size_t nr, char *why, size_t why_size);

#endif
