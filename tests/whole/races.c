/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The two races that registration caches lose, and the trap in userfaultfd's REMOVE event, each made to
 * happen by blocking somebody in the middle. What is read is what a real pin holds.
 */
#include <mrn/mrn.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "tests/harness/break.h"
#include "core/mm.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"
#include "os/syscall.h"
#include "tests/pin_device.h"

#define OLD    'A'
#define NEW    'B'
#define LENGTH 65536

/* How the memory is taken away: by libc's name for an interposer, past it for userfaultfd. */
static void remap_by_name(char *p, size_t length)
{
	CHECK(mmap(p, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		   0) == p);
}

static void remap_raw(char *p, size_t length)
{
	CHECK_EQ(mrn_sys6(SYS_mmap, (long)p, (long)length, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
		 p);
}

struct race {
	struct pin_device dev;
	struct mrn_source *source;
	struct mrn_regcache *cache;
	char *p;
	struct test_gate begun, go_on;
	struct mmu_notifier gap;
};

static struct race race;

/* What a twin takes out once the source has passed its self-test, which might notice, too. */
static struct break_later broken;

static void set_up(unsigned int kind)
{
	pin_device_open(&race.dev);
	race.source = attach_or_skip(kind);
	race.cache = pin_cache(&race.dev, race.source,
			       kind == MRN_SOURCE_UFFD ? MRN_COVER_UFFD : MRN_COVER_INTERPOSE, 0);
	race.p = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(race.p != MAP_FAILED);
	memset(race.p, OLD, LENGTH);
	break_now(&broken);
}

static void tear_down(void)
{
	CHECK_ERR(mrn_regcache_destroy(race.cache), 0);
	CHECK_ERR(mrn_source_detach(race.source), 0);
	pin_device_close(&race.dev);
}

/* --------------------------------------- race A: the memory is remapped while it is being registered */

static void block_once(void *arg, const struct mrn_regcache_entry *entry)
{
	(void)arg;
	(void)entry;
	test_gate_open(&race.begun);
	test_gate_wait(&race.go_on);
}

static void get_and_put(void *arg)
{
	const struct mrn_regcache_entry *entry;

	(void)arg;
	CHECK_ERR(mrn_regcache_get(race.cache, race.p, LENGTH, MRN_ACCESS_READ, &entry), 0);
	CHECK_ERR(mrn_regcache_put(entry), 0);
}

static void race_a(unsigned int kind, void (*remap)(char *p, size_t length))
{
	struct mrn_regcache_stats stats;
	struct test_thread getter;

	set_up(kind);
	race.dev.pinned = block_once;
	test_thread(&getter, get_and_put, NULL);
	test_gate_wait(&race.begun);
	/* The old pages are pinned, register has not returned. */
	remap(race.p, LENGTH);
	memset(race.p, NEW, LENGTH);
	/* The monitor may still be telling the cache. Let it finish, or this is another race. */
	CHECK_ERR(mrn_tokens_wait(mrn_mm_self(), (uintptr_t)race.p, (uintptr_t)race.p + LENGTH,
				  NULL),
		  0);
	test_gate_open(&race.go_on);
	test_join(&getter);
	CHECK_EQ(pin_cache_peek(&race.dev, race.cache, race.p), NEW);
	CHECK_ERR(mrn_regcache_get_stats(race.cache, &stats, sizeof(stats)), 0);
	CHECK_EQ(stats.retries, 1);
	CHECK_EQ(stats.hits, 1);
	tear_down();
}

TEST(race_a_interpose)
{
	race_a(MRN_SOURCE_INTERPOSE, remap_by_name);
}
TWIN(race_a_interpose, no_retry_check, BREAK_LATER(broken, CACHE_RETRY));
TWIN(race_a_interpose, no_notifier, BREAK_LATER(broken, CACHE_NOTIFIER));

TEST(race_a_uffd)
{
	race_a(MRN_SOURCE_UFFD, remap_raw);
}
TWIN(race_a_uffd, no_retry_check, BREAK_LATER(broken, CACHE_RETRY));
TWIN(race_a_uffd, no_notifier, BREAK_LATER(broken, CACHE_NOTIFIER));

/* ------------------------------------------- race B: a lookup lands between the notice and the change */

static void open_go_on(uint64_t token_seq)
{
	(void)token_seq;
	test_gate_open(&race.go_on);
}

/*
 * Between start's callbacks into range notifiers and the real call: the cache has been told, the pages
 * are still there. Stay here until the other thread's lookup waits for us, or has not waited.
 */
static int in_the_gap(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	if (range->start <= (uintptr_t)race.p && range->end > (uintptr_t)race.p) {
		test_gate_open(&race.begun);
		test_gate_wait(&race.go_on);
	}
	return 0;
}

static const struct mmu_notifier_ops gap_ops = {.invalidate_range_start = in_the_gap};

static void look_up_in_the_gap(void *arg)
{
	test_gate_wait(&race.begun);
	get_and_put(arg);
	/* A lookup that has not waited must not make the test hang: it must make it fail. */
	test_gate_open(&race.go_on);
}

TEST(race_b_interpose)
{
	struct test_thread getter;

	set_up(MRN_SOURCE_INTERPOSE);
	race.gap.ops = &gap_ops;
	CHECK_ERR(mmu_notifier_register(&race.gap, mrn_mm_self()), 0);
	mrn_check_wait_hook = open_go_on;
	/* In the cache beforehand, too: a hit must not be had either. */
	get_and_put(NULL);
	test_thread(&getter, look_up_in_the_gap, NULL);
	remap_by_name(race.p, LENGTH);
	memset(race.p, NEW, LENGTH);
	test_join(&getter);
	CHECK_EQ(pin_cache_peek(&race.dev, race.cache, race.p), NEW);
	CHECK_ERR(mmu_notifier_unregister(&race.gap, mrn_mm_self()), 0);
	tear_down();
}
TWIN(race_b_interpose, no_wait_for_tokens,
     (BREAK_LATER(broken, CACHE_TOKENS), BREAK_LATER(broken, CACHE_FIRST_READ),
      BREAK_LATER(broken, A2_WAIT)));

/*
 * The monitor has read the event, so the caller's munmap has returned; nobody has been told. Stay here
 * until a lookup waits for us, or has not waited.
 */
static void event_was_read(void)
{
	test_gate_open(&race.begun);
	test_gate_wait(&race.go_on);
}

TEST(race_b_uffd)
{
	int byte;

	set_up(MRN_SOURCE_UFFD);
	get_and_put(NULL);
	mrn_check_wait_hook = open_go_on;
	mrn_check_uffd_hook = event_was_read;
	remap_raw(race.p, LENGTH);
	test_gate_wait(&race.begun);
	memset(race.p, NEW, LENGTH);
	/* The remapping has returned to the application: from here on, a hit on the old entry is stale. */
	byte = pin_cache_peek(&race.dev, race.cache, race.p);
	test_gate_open(&race.go_on);
	mrn_check_uffd_hook = NULL;
	CHECK_EQ(byte, NEW);
	tear_down();
}
TWIN(race_b_uffd, token_after_read, BREAK_LATER(broken, UFFD_LATE_TOKEN));
TWIN(race_b_uffd, hit_without_tokens, BREAK_LATER(broken, CACHE_TOKENS));

/* ---------------------------------------- the trap: REMOVE is read before the pages are taken away */

#define TRAP_LENGTH (256ul << 20)

static bool just_update(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			uint64_t cur_seq)
{
	(void)range;
	mmu_range_notifier_update_seq(mrn, cur_seq);
	return true;
}

static const struct mmu_range_notifier_ops watch_ops = {.invalidate = just_update};

struct trap {
	struct test_gate event, begun;
	cpu_set_t cpu;
	char *last;
	bool hogged, registered;
};

static struct trap *trap;

static void share_processor(const cpu_set_t *cpu)
{
	CHECK_EQ(sched_setaffinity(0, sizeof(*cpu), cpu), 0);
}

static void give_way(int policy)
{
	const struct sched_param none = {.sched_priority = 0};

	CHECK_EQ(sched_setscheduler(0, policy, &none), 0);
}

/*
 * The zap must not come to its last page before that has been registered, whatever else the machine is
 * doing. So the thread that zaps is confined to one processor and gives way to any other, and from the
 * event on until the page is registered another one keeps that processor busy. Not for ever: the one that
 * zaps may hold the mmap lock, which the registration wants, and then the round proves nothing.
 */
static void keep_busy(void *arg)
{
	uint64_t end;

	share_processor(&trap->cpu);
	test_gate_wait(&trap->event);
	__atomic_store_n(&trap->hogged, true, __ATOMIC_RELEASE);
	end = test_now_ns() + 100 * UINT64_C(1000000);
	while (!__atomic_load_n(&trap->registered, __ATOMIC_ACQUIRE) && test_now_ns() < end)
		;
}

static void remove_is_there(void)
{
	test_gate_open(&trap->event);
	while (!__atomic_load_n(&trap->hogged, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void remove_was_read(void)
{
	test_gate_open(&trap->begun);
}

/* Registers the last page as soon as the event has been read. */
static void register_last_page(void *arg)
{
	const struct mrn_regcache_entry *entry;

	test_gate_wait(&trap->begun);
	CHECK_ERR(mrn_regcache_get(race.cache, trap->last, 4096, MRN_ACCESS_READ, &entry), 0);
	CHECK_ERR(mrn_regcache_put(entry), 0);
	__atomic_store_n(&trap->registered, true, __ATOMIC_RELEASE);
}

/* One round at an address of its own: a range that fell into the trap once is never cached again. */
static bool trap_round(char *p)
{
	/* The watcher arms all of it, so that one event is raised before the first page goes. */
	struct mmu_range_notifier watcher = {.ops = &watch_ops};
	struct trap t = {.last = p + TRAP_LENGTH - 4096};
	struct test_thread getter, hog;
	cpu_set_t before;
	bool stale;

	CHECK_EQ(mrn_sys6(SYS_mmap, (long)p, TRAP_LENGTH, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1, 0),
		 p);
	memset(t.last, OLD, 4096);
	CHECK_ERR(mmu_range_notifier_insert(&watcher, (uintptr_t)p, TRAP_LENGTH, mrn_mm_self()), 0);
	CHECK_ERR(mrn_source_arm(race.source, (uintptr_t)p, TRAP_LENGTH, MRN_COVER_UFFD), 0);
	trap = &t;
	mrn_check_uffd_event_hook = remove_is_there;
	mrn_check_uffd_hook = remove_was_read;
	CHECK_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
	CPU_ZERO(&t.cpu);
	CPU_SET(sched_getcpu(), &t.cpu);
	test_thread(&getter, register_last_page, NULL);
	test_thread(&hog, keep_busy, NULL);
	share_processor(&t.cpu);
	give_way(SCHED_IDLE);
	CHECK_EQ(mrn_sys3(SYS_madvise, (long)p, TRAP_LENGTH, MADV_DONTNEED), 0);
	give_way(SCHED_OTHER);
	share_processor(&before);
	test_join(&getter);
	test_join(&hog);
	mrn_check_uffd_event_hook = NULL;
	mrn_check_uffd_hook = NULL;
	memset(t.last, NEW, 4096);
	stale = pin_cache_peek(&race.dev, race.cache, t.last) != NEW;
	mrn_source_disarm(race.source, &watcher);
	CHECK_ERR(mmu_range_notifier_remove(&watcher), 0);
	CHECK_EQ(mrn_sys2(SYS_munmap, (long)p, TRAP_LENGTH), 0);
	return stale;
}

static void remove_trap(unsigned int rounds)
{
	unsigned int i;
	int stale = 0;
	char *p;

	set_up(MRN_SOURCE_UFFD);
	/* Address space that nobody else gets a piece of. */
	p = mmap(NULL, (size_t)rounds * 2 * TRAP_LENGTH, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(p != MAP_FAILED);
	CHECK_EQ(mrn_sys2(SYS_munmap, (long)p, (long)((size_t)rounds * 2 * TRAP_LENGTH)), 0);
	/* One at least: on a busy machine a round may take seconds. */
	for (i = 0; !i || test_round_is_due(i, rounds); i++)
		stale += trap_round(p + (size_t)i * 2 * TRAP_LENGTH);
	NOTE("rounds %u stale %d", i, stale);
	CHECK_EQ(stale, 0);
	tear_down();
}

TEST(remove_trap_quick, .timeout_s = 60)
{
	remove_trap(10);
}

/* What closes the trap, without its race: from the event on, nothing there is kept. */
TEST(a_removed_range_is_good_for_one_use)
{
	struct mrn_regcache_stats stats;

	set_up(MRN_SOURCE_UFFD);
	get_and_put(NULL);
	CHECK_EQ(mrn_sys3(SYS_madvise, (long)race.p, LENGTH, MADV_DONTNEED), 0);
	get_and_put(NULL);
	get_and_put(NULL);
	CHECK_ERR(mrn_regcache_get_stats(race.cache, &stats, sizeof(stats)), 0);
	CHECK_EQ(stats.use_once, 2);
	CHECK_EQ(stats.entries, 0);
	tear_down();
}
TWIN(a_removed_range_is_good_for_one_use, remove_is_taken_for_done,
     BREAK_LATER(broken, UFFD_REMOVE_TRAP));

TEST(remove_trap_100_rounds, .timeout_s = 300, .slow = true)
{
	remove_trap(100);
}

/* -------------------------------------------------- a hole that is filled between arming and pinning */

/*
 * Arming says nothing about a hole, and mapping into it is no event. Fill it as soon as the range has
 * been armed, then let the registration pin: it must not be kept.
 */
static void fill_hole(void *arg)
{
	char *hole = arg;

	CHECK_EQ(mrn_sys6(SYS_mmap, (long)hole, 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
		 hole);
	memset(hole, OLD, 4096);
}

static int register_after_filling(void *ctx, struct mrn_regcache_entry *entry)
{
	static bool filled;

	if (!filled)
		fill_hole(race.p + 4096);
	filled = true;
	return pin_device_ops.register_range(ctx, entry);
}

TEST(hole_filled_while_registering)
{
	struct mrn_regcache_ops ops = pin_device_ops;
	struct mrn_regcache_opts config = {.size = sizeof(config),
					   .mm = mrn_mm_self(),
					   .need = MRN_COVER_UFFD,
					   .ops = &ops,
					   .ctx = &race.dev};
	struct mrn_regcache *cache;
	const struct mrn_regcache_entry *entry;

	set_up(MRN_SOURCE_UFFD);
	ops.register_range = register_after_filling;
	config.source = race.source;
	CHECK_ERR(mrn_regcache_create(&config, &cache), 0);
	CHECK_EQ(mrn_sys2(SYS_munmap, (long)race.p + 4096, 4096), 0);
	CHECK_ERR(mrn_regcache_get(cache, race.p, 3 * 4096, MRN_ACCESS_READ, &entry), 0);
	CHECK_ERR(mrn_regcache_put(entry), 0);
	remap_raw(race.p + 4096, 4096);
	memset(race.p + 4096, NEW, 4096);
	CHECK_EQ(pin_cache_peek(&race.dev, cache, race.p + 4096), NEW);
	CHECK_ERR(mrn_regcache_destroy(cache), 0);
	tear_down();
}
TWIN(hole_filled_while_registering, no_look_for_holes, BREAK_LATER(broken, UFFD_HOLES));

TEST(hole_filled_without_pagemap_scan)
{
	/* Before set_up: the source decides when it starts. */
	BREAK(PAGEMAP_SCAN);
	test_body_hole_filled_while_registering();
}
