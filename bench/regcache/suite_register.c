/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a cache adds to a registration that pins the pages, and saves of it: misses and hits with buffers of several
 * sizes. n is the size in KiB.
 */
#include <errno.h>
#include <stdio.h>

#include "bench/regcache/contest.h"
#include "bench/suites.h"

#define KIB ((uint64_t)1 << 10)

static const struct {
	uint64_t kib;
	bool in_quick;
} sizes[] = {
	{4, true},    {16, false},   {64, true},     {256, false},
	{1024, true}, {4096, false}, {16384, false},
};

/* In the cache: 4 MiB, half of what RLIMIT_MEMLOCK often is; but at most as many as regcache's, and at least four. */
static uint32_t buffers_of(uint64_t kib)
{
	uint64_t n = 4096 / kib;

	return (uint32_t)(n > 512 ? 512 : n < 4 ? 4 : n);
}

/* A registration takes one or two microseconds, and a fraction of one for each page. */
static uint64_t registrations_of(uint64_t kib, bool quick)
{
	uint64_t n = (quick ? 1024 : 8192) / (1 + kib / 32);

	return n < 16 ? 16 : n;
}

static int measure(struct bench_table *table, const char *name, uint64_t kib, const struct work *w,
		   char *why, size_t why_size)
{
	struct contestant c[4] = {contest_mrn(w), contest_plain(w, WORK_EACH),
				  contest_plain(w, WORK_PLAIN), contest_ucx(w)};

	/* Without a cache, a hit is one more registration. */
	c[1].w.kind = WORK_MISS;
	c[1].w.ops = registrations_of(kib, table->quick);
	return contest_measure(table, name, kib, c, contest_has_ucx() ? 4 : 3, why, why_size);
}

static int measure_size(struct bench_table *table, uint64_t kib, char *why, size_t why_size)
{
	struct work w = {
		.kind = WORK_MISS,
		.buffers = buffers_of(kib),
		.threads = 1,
		.caches = 1,
		.pins = 1,
		.length = kib * KIB,
		.ops = registrations_of(kib, table->quick),
	};
	int err = measure(table, "miss", kib, &w, why, why_size);

	w.need = WORK_INTERPOSE_ANON;
	if (!err)
		err = measure(table, "miss_anon", kib, &w, why, why_size);
	w.need = WORK_PAGES;
	w.kind = WORK_HIT;
	w.ops = table->quick ? 100000 : 1000000;
	return err ? err : measure(table, "hit", kib, &w, why, why_size);
}

static void say_left_out(struct bench_table *table, uint64_t kib, const char *why)
{
	char sentence[512];

	snprintf(sentence, sizeof(sentence), "n = %ju and more are left out: %s", (uintmax_t)kib,
		 why);
	if (table->say)
		table->say(sentence);
}

static int run(struct bench_table *table, char *why, size_t why_size)
{
	bool some = false;
	int err = 0;

	if (table->quick)
		table->left_out = "n other than 4, 64 and 1024.";
	if (!contest_has_ucx() && table->say)
		table->say("ucx is left out: UCX's cache was not built in");
	for (size_t i = 0; !err && i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		if (table->quick && !sizes[i].in_quick)
			continue;
		err = measure_size(table, sizes[i].kib, why, why_size);
		some |= !err;
		/* Larger sizes need no less. */
		if (err == -EPERM && some) {
			say_left_out(table, sizes[i].kib, why);
			return 0;
		}
	}
	return err;
}

const struct bench_suite bench_register = {
	.name = "register",
	.about = "registrations that pin memory, of 4 KiB to 16 MiB",
	.run = run,
};
