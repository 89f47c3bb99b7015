/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The storage engine, twice: in a process that has libmrn-uring over AUTO's sources, and in one that has plain transfers
 * only. All transfers are right, nine of ten gets hit, and the first process takes at most a fifth more memory.
 *
 * MRN_ENGINE_TRANSFERS in the environment says how many transfers each makes.
 */
#include "tests/engine/engine.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "tests/engine/ring.h"
#include "tests/harness/break.h"
#include "tests/harness/child.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"

/* Or no registration would ever be stale: tests/harness/sanitize.c. */
char test_reuses_memory;

/* More than the caches ever pin. */
#define PINNED ((size_t)1 << 30)

/* In a child, which has failed or skipped the test if it has not ended well. */
static struct engine_figures run(struct engine_opts opts)
{
	struct engine_figures *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
					     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct engine_figures figures;
	pid_t pid;
	int end;

	CHECK(shared != MAP_FAILED);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		engine_run(&opts, shared);
		_exit(0);
	}
	end = end_of(pid);
	figures = *shared;
	munmap(shared, sizeof(*shared));
	CHECK(end >= 0);
	if (end)
		_exit(end);
	return figures;
}

static uint64_t how_many(uint64_t usually)
{
	const char *given = getenv("MRN_ENGINE_TRANSFERS");

	if (given)
		return strtoull(given, NULL, 10);
	return test_is_sanitized() ? usually / 10 : usually;
}

static void note(const char *which, const struct engine_figures *f)
{
	NOTE("%s: transfers %llu stale %llu resident %llu KiB", which,
	     (unsigned long long)f->transfers, (unsigned long long)f->stale,
	     (unsigned long long)f->resident >> 10);
}

static struct engine_figures with(struct engine_opts opts, double *hits)
{
	struct engine_figures f;

	opts.registered = true;
	f = run(opts);
	*hits = (double)f.hits / (double)(f.hits + f.misses);
	note("with mrn", &f);
	NOTE("hits %.2f %% invalidations %llu use-once %llu retries %llu", 100 * *hits,
	     (unsigned long long)f.invalidations, (unsigned long long)f.use_once,
	     (unsigned long long)f.retries);
	NOTE("transfers without a fixed buffer %llu, pinned at most %llu KiB",
	     (unsigned long long)f.unregistered, (unsigned long long)f.pinned >> 10);
	CHECK_EQ(f.stale, 0);
	CHECK(f.transfers >= opts.transfers);
	return f;
}

static void engine(struct engine_opts opts)
{
	struct engine_figures f, plain;
	struct test_rand seed;
	double hits, memory;

	/* The first generator draws the seed, which both processes have then. */
	test_rand_init(&seed, 0);
	f = with(opts, &hits);
	plain = run(opts);
	note("without", &plain);
	memory = (double)f.resident / (double)plain.resident;
	NOTE("memory %.3f times as much as without", memory);
	CHECK_EQ(plain.stale, 0);
	/* A sanitizer's malloc takes much for itself, and so few transfers hit less often. */
	if (test_is_sanitized())
		return;
	CHECK(memory <= 1.2);
	if (!ring_may_pin(PINNED))
		SKIP("RLIMIT_MEMLOCK is too low for as many hits as there could be");
	CHECK_EQ(f.unregistered, 0);
	CHECK(hits >= 0.9);
}

TEST(usual_work, .timeout_s = 120)
{
	engine((struct engine_opts){.transfers = how_many(100000)});
}
TWIN(usual_work, no_notifier, BREAK(CACHE_NOTIFIER));

TEST(short_lived_buffers, .timeout_s = 240, .slow = true)
{
	engine((struct engine_opts){.transfers = how_many(300000), .short_lived = true});
}
TWIN(short_lived_buffers, no_notifier, BREAK(CACHE_NOTIFIER));

TEST(merged_buffers, .timeout_s = 240, .slow = true)
{
	engine((struct engine_opts){.transfers = how_many(300000), .flags = MRN_REGCACHE_MERGE});
}
TWIN(merged_buffers, no_notifier, BREAK(CACHE_NOTIFIER));
