/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs that allocate and transfer as applications do, with registrations that pin memory: how long a transfer takes
 * with all that the program does around it, how many gets hit, and how many transfers read what was stale.
 */
#include <errno.h>
#include <stdio.h>

#include "bench/regcache/contest.h"
#include "bench/suites.h"

#define MAX_THREADS 4

static const struct {
	const char *name;
	uint32_t kind;
	uint64_t steps; /* of a thread */
} cases[] = {
	{"mpi", WORK_MPI, 256},
	{"storage", WORK_STORAGE, 16384},
	{"malloc", WORK_MALLOC, 4096},
};

/* n is how many registrations a cache may have; no more than 64 MiB. */
static int measure(struct bench_table *table, size_t i, unsigned int threads, char *why,
		   size_t why_size)
{
	const struct work w = {
		.kind = cases[i].kind,
		.buffers = 2048,
		.max_bytes = (uint64_t)64 << 20,
		.threads = threads,
		.caches = 1,
		.pins = 1,
		.ops = table->quick ? cases[i].steps / 8 : cases[i].steps,
	};
	const struct contestant c[] = {contest_mrn(&w), contest_plain(&w, WORK_EACH),
				       contest_plain(&w, WORK_PLAIN), contest_plain(&w, WORK_ONCE),
				       contest_ucx(&w)};

	return contest_measure(table, cases[i].name, w.buffers, c, contest_has_ucx() ? 5 : 4, why,
			       why_size);
}

static int run(struct bench_table *table, char *why, size_t why_size)
{
	int err = 0;

	if (table->quick)
		table->left_out = "2 threads; and seven of eight steps.";
	if (!contest_has_ucx() && table->say)
		table->say("ucx is left out: UCX's cache was not built in");
	for (size_t i = 0; !err && i < sizeof(cases) / sizeof(cases[0]); i++)
		for (unsigned int threads = 1; !err && threads <= MAX_THREADS;
		     threads *= table->quick ? 4 : 2)
			err = measure(table, i, threads, why, why_size);
	return err;
}

const struct bench_suite bench_trace = {
	.name = "trace",
	.about = "programs that transfer as MPI applications and storage engines do",
	.run = run,
};
