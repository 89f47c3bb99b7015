/* SPDX-License-Identifier: BSD-3-Clause */
/* kdreg2: a child after fork must not use the parent's registrations. */
#include "regcache/cache.h"
#include "tests/harness/child.h"
#include "tests/regcache/fixture.h"

#include <stdio.h>
#include <unistd.h>

/* Runs fn in a child, and hands on its failure. */
static void in_child(void (*fn)(struct rig *rig, const struct mrn_regcache_entry *held),
		     struct rig *rig, const struct mrn_regcache_entry *held)
{
	pid_t pid = fork();

	if (!pid) {
		fn(rig, held);
		_exit(0);
	}
	CHECK_EQ(end_of(pid), 0);
}

static void use_in_child(struct rig *rig, const struct mrn_regcache_entry *held)
{
	const struct mrn_regcache_entry *e = NULL;
	struct mrn_regcache_stats s;
	struct mmu_notifier_range r = pages(rig->mm, 10, 11);

	CHECK_ERR(try_get(rig, 10, 11, RD, &e), -ESTALE);
	CHECK_ERR(try_get(rig, 50, 51, RD, &e), -ESTALE);
	CHECK(!e);
	CHECK_ERR(mrn_regcache_put(held), -ESTALE);
	CHECK_ERR(mrn_regcache_reap(rig->cache), -ESTALE);
	CHECK_ERR(mrn_regcache_flush(rig->cache), -ESTALE);
	CHECK_ERR(mrn_regcache_get_stats(rig->cache, &s, sizeof(s)), -ESTALE);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&r), -ESTALE);
	CHECK_ERR(mrn_regcache_destroy(rig->cache), 0);
	CHECK_EQ(rig->dev.deregistered, 0);
	CHECK_EQ(rig->dev.registered, 2);
}

TEST(kdreg2_child_after_fork)
{
	RIG(rig, .max_entries = 4);
	const struct mrn_regcache_entry *held;

	held = get(&rig, 10, 11, RD);
	touch(&rig, 20, 21, RD);
	in_child(use_in_child, &rig, held);
	/* And the parent goes on as if nothing had been. */
	CHECK_EQ(touch(&rig, 10, 11, RD), 1);
	CHECK_EQ(touch(&rig, 20, 21, RD), 2);
	invalidate(&rig, 10, 11);
	put(&rig, held);
	CHECK_EQ(rig.dev.deregistered, 1);
	rig_exit(&rig);
}

/* The child may have a cache of its own, on an mm of its own. */
static void start_anew(struct rig *rig, const struct mrn_regcache_entry *held)
{
	RIG(own, .max_entries = 4);

	touch(&own, 10, 11, RD);
	CHECK_ERR(mrn_regcache_destroy(rig->cache), 0);
	CHECK_EQ(touch(&own, 10, 11, RD), 1);
	invalidate(&own, 10, 11);
	CHECK_EQ(touch(&own, 10, 11, RD), 2);
	rig_exit(&own);
}

TEST(child_starts_anew)
{
	RIG(rig, .max_entries = 4);

	touch(&rig, 10, 11, RD);
	in_child(start_anew, &rig, NULL);
	CHECK_EQ(touch(&rig, 10, 11, RD), 1);
	rig_exit(&rig);
}

/* -------------------------------------------------------------------- what the child has of it */

enum { ENTRIES = 20000 };

/* All of the process's memory, in pages. */
static unsigned long memory_of_process(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	CHECK(f && fscanf(f, "%lu", &pages) == 1);
	fclose(f);
	return pages;
}

static size_t mms_index; /* the memory of that one; the child does not know it any more */

static void destroy_gives_back(struct rig *rig, const struct mrn_regcache_entry *held)
{
	struct mrn_regcache *c = rig->cache;
	size_t hints = sizeof(struct hint) << (64 - c->hint_shift);
	unsigned long before = memory_of_process(), after;

	(void)held;
	CHECK_ERR(mrn_regcache_destroy(rig->cache), 0);
	after = memory_of_process();
	/* But for what small tables take again. */
	CHECK_MSG(before - after + MRN_PAGES_ROOM >=
			  (mms_index + hints + ENTRIES * sizeof(struct entry)) / mrn_page_size(),
		  "%lu pages before, %lu after; the index has %zu bytes", before, after, mms_index);
}

/* destroy in a child frees what create and all gets have made in the parent, the mm's index included. */
TEST(a_child_frees_its_copy)
{
	RIG(rig, .max_entries = ENTRIES);

	if (test_is_sanitized())
		SKIP("a sanitizer maps and unmaps memory of its own");
	for (unsigned int i = 0; i < ENTRIES; i++)
		touch(&rig, 10 + 2 * i, 11 + 2 * i, RD);
	mms_index = mrn_index_bytes(&rig.mm->index);
	CHECK(mms_index > 256 * 1024);
	in_child(destroy_gives_back, &rig, NULL);
	rig_exit(&rig);
}
TWIN(a_child_frees_its_copy, keeps_the_mms, BREAK(FORK_ROOM));

/* ------------------------------------------ forked while other threads are in the cache's midst */

static void get_20(void *arg)
{
	const struct mrn_regcache_entry *e;

	if (!try_get(arg, 20, 21, RD, &e))
		CHECK_ERR(mrn_regcache_put(e), 0);
}

static void destroy_in_child(struct rig *rig, const struct mrn_regcache_entry *held)
{
	const struct mrn_regcache_entry *e;

	CHECK_ERR(try_get(rig, 20, 21, RD, &e), -ESTALE);
	CHECK_ERR(mrn_regcache_destroy(rig->cache), 0);
}

/*
 * One thread deregisters to make room, and another waits for the room, when the process forks: the
 * child has neither thread, and what they hold there is held for ever.
 */
TEST(fork_while_threads_wait)
{
	RIG(rig, .max_entries = 1);
	struct test_gate entered = TEST_GATE_INIT, leave = TEST_GATE_INIT;
	struct test_gate never = TEST_GATE_INIT;
	struct test_thread t[2];

	if (TEST_TSAN)
		SKIP("ThreadSanitizer wants no fork of a process with threads");
	touch(&rig, 10, 11, RD);
	rig.dev.on_deregister = (struct stub_stop){&entered, &leave, NULL};
	test_thread(&t[0], get_20, &rig);
	test_gate_wait(&entered);
	test_thread(&t[1], get_20, &rig);
	/* Until it waits; should it come too late, the test tests less, but nothing fails. */
	test_gate_wait_ms(&never, 50);
	in_child(destroy_in_child, &rig, NULL);
	test_gate_open(&leave);
	test_join(&t[0]);
	test_join(&t[1]);
	rig_exit(&rig);
}
