/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * P4 for the registration cache's callback and the userfaultfd monitor: in a program whose malloc aborts
 * on the event path, memory is registered and torn away, and nothing is allocated meanwhile.
 */
#include <errno.h>
#include <mrn/mrn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/harness/sync.h"
#include "tests/harness/test.h"
#include "os/syscall.h"
#include "tests/malloc_guard.h"

#define LENGTH 65536
#define ROUNDS 1000

static int register_range(void *ctx, struct mrn_regcache_entry *entry)
{
	/* Not on the event path: here one may. */
	entry->handle.ptr = malloc(1);
	(void)ctx;
	return entry->handle.ptr ? 0 : -ENOMEM;
}

static void deregister_range(void *ctx, struct mrn_regcache_entry *entry)
{
	(void)ctx;
	free(entry->handle.ptr);
}

static const struct mrn_regcache_ops ops = {.register_range = register_range,
					    .deregister_range = deregister_range};

/* Another notifier there, which a twin makes misbehave. */
static bool allocates;
static void *volatile leaked;

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	(void)range;
	mmu_range_notifier_update_seq(mrn, cur_seq);
	if (allocates)
		leaked = malloc(1);
	return true;
}

static const struct mmu_range_notifier_ops notifier_ops = {.invalidate = invalidate};

static void tear_away(void *p)
{
	for (int i = 0; i < ROUNDS; i++)
		CHECK_EQ(mrn_sys6(SYS_mmap, (long)p, LENGTH, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 p);
}

TEST(cache_and_monitor_allocate_nothing)
{
	struct mmu_range_notifier mrn = {.ops = &notifier_ops};
	struct mrn_source_opts opts = {.size = sizeof(opts), .need = MRN_COVER_UFFD};
	struct mrn_regcache_opts config = {.size = sizeof(config),
					   .mm = mrn_mm_self(),
					   .need = MRN_COVER_UFFD,
					   .ops = &ops,
					   .max_entries = 8};
	struct mrn_regcache_stats stats;
	struct mrn_regcache *cache;
	struct test_thread t;
	int r;
	char *p;

	if (!malloc_guard_works())
		SKIP("the sanitizers' own malloc is in place");
	r = mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, &opts, &config.source);
	if (r)
		SKIP("no userfaultfd here: %s", strerror(-r));
	CHECK_ERR(mrn_regcache_create(&config, &cache), 0);
	p = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	CHECK_ERR(mmu_range_notifier_insert(&mrn, (uintptr_t)p, LENGTH, mrn_mm_self()), 0);
	test_thread(&t, tear_away, p);
	for (int i = 0; i < ROUNDS; i++) {
		const struct mrn_regcache_entry *entry;

		r = mrn_regcache_get(cache, p + i % 8 * 4096, 4096, MRN_ACCESS_READ, &entry);
		if (r == 0)
			CHECK_ERR(mrn_regcache_put(entry), 0);
		else
			CHECK_ERR(r, -EAGAIN);
	}
	test_join(&t);
	/* The storm may have been over before it met an entry; this meets one. */
	do {
		const struct mrn_regcache_entry *entry;

		CHECK_ERR(mrn_regcache_get(cache, p, 4096, MRN_ACCESS_READ, &entry), 0);
		CHECK_ERR(mrn_regcache_put(entry), 0);
		tear_away(p);
		CHECK_ERR(mrn_regcache_get_stats(cache, &stats, sizeof(stats)), 0);
	} while (!stats.invalidations);
	NOTE("%llu entries invalidated", (unsigned long long)stats.invalidations);
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
	CHECK_ERR(mrn_regcache_destroy(cache), 0);
	CHECK_ERR(mrn_source_detach(config.source), 0);
}
TWIN(cache_and_monitor_allocate_nothing, a_callback_allocates, allocates = true,
     .accept_abort = true);
