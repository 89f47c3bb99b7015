/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each way to put other pages at an address: without a word to the cache, the next get registers anew.
 * The names are those of the test suites that the scenarios come from.
 */
#include "tests/harness/child.h"
#include "tests/regcache/live.h"

#include <malloc.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <unistd.h>

#include "source/state.h"

enum { NR = 4 };
#define SIZE (NR * mrn_page_size())

/* Cached: asked again, it is the same registration. */
static uint64_t cache_it(struct live *l, void *at, uint64_t generation)
{
	uint64_t serial = live_touch(l, at, SIZE, generation);

	CHECK_EQ(live_touch(l, at, SIZE, generation), serial);
	return serial;
}

/* --------------------------------------------------------- libfabric: mr_cache_evict; and reuse */

TEST(mr_cache_evict_mmap)
{
	LIVE(l);
	void *p = map(NULL, SIZE, 1);

	for (uint64_t i = 1; i < 20; i++) {
		CHECK_EQ(cache_it(&l, p, i), i);
		CHECK_ERR(munmap(p, SIZE), 0);
		map(p, SIZE, i + 1);
	}
	/* The last may still be on its way: nobody has asked since. */
	CHECK(stats_of(l.rig.cache).invalidations >= 18);
	live_exit(&l);
}

/* Moves the break by so much, in the way that the test is about. */
static void move_break_by_sbrk(char *from, long by)
{
	CHECK(sbrk(by) == from);
}

static void move_break_by_brk(char *from, long by)
{
	CHECK_ERR(brk(from + by), 0);
}

static void evict_break(void (*move)(char *from, long by))
{
	char *p;

	/* malloc keeps to mappings, so that the break is the test's alone. A sanitizer's has none. */
	if (!test_is_sanitized()) {
		CHECK(mallopt(M_MMAP_THRESHOLD, 1));
		CHECK(mallopt(M_TOP_PAD, 4 << 20));
		free(malloc(1));
	}
	LIVE(l);

	p = sbrk(0);
	move(p, (long)(mrn_page_up((uintptr_t)p) - (uintptr_t)p));
	p = (char *)mrn_page_up((uintptr_t)p);
	for (uint64_t i = 1; i < 10; i++) {
		if (sbrk(0) != p)
			SKIP("somebody else moves the break");
		move(p, (long)SIZE);
		fill(p, SIZE, i);
		CHECK_EQ(cache_it(&l, p, i), i);
		if (sbrk(0) != p + SIZE)
			SKIP("somebody else moves the break");
		move(p + SIZE, -(long)SIZE);
	}
	/* The last may still be on its way: nobody has asked since. */
	CHECK(stats_of(l.rig.cache).invalidations >= 8);
	live_exit(&l);
}

TEST(mr_cache_evict_brk)
{
	evict_break(move_break_by_brk);
}

TEST(mr_cache_evict_sbrk)
{
	evict_break(move_break_by_sbrk);
}

/* Held over the unmap: it stays until it is put, and is nobody else's. */
TEST(ucx_rcache_in_use_survives_munmap)
{
	LIVE(l);
	void *p = map(NULL, SIZE, 1);
	const struct mrn_regcache_entry *held;

	CHECK_ERR(mrn_regcache_get(l.rig.cache, p, SIZE, RD | WR, &held), 0);
	stub_use(&l.rig.dev, held);
	CHECK_ERR(munmap(p, SIZE), 0);
	map(p, SIZE, 2);
	CHECK_EQ(live_touch(&l, p, SIZE, 2), 2);
	CHECK_EQ(l.rig.dev.live, 2);
	put(&l.rig, held);
	CHECK_EQ(l.rig.dev.live, 1);
	live_exit(&l);
}

TEST(ucx_rcache_unmapped_address)
{
	LIVE(l);
	char *p = map(NULL, SIZE, 1);
	const struct mrn_regcache_entry *none = NULL;

	CHECK_ERR(munmap(p + mrn_page_size(), mrn_page_size()), 0);
	CHECK_ERR(mrn_regcache_get(l.rig.cache, p, SIZE, RD, &none), -EFAULT);
	CHECK_ERR(mrn_regcache_get(l.rig.cache, p + mrn_page_size(), 1, RD, &none), -EFAULT);
	CHECK(!none);
	CHECK_EQ(stats_of(l.rig.cache).entries, 0);
	live_touch(&l, p, mrn_page_size(), 1);
	live_exit(&l);
}

/* ----------------------------------------------------------------- UCX: malloc_hook, one thread */

TEST(malloc_hook_map_fixed_is_an_unmap)
{
	LIVE(l);
	char *p = map(NULL, SIZE, 1);

	for (uint64_t i = 1; i < 10; i++) {
		CHECK_EQ(cache_it(&l, p, i), i);
		CHECK(mmap(p, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			   -1, 0) == p);
		fill(p, SIZE, i + 1);
	}
	/* A page of it is enough. */
	CHECK_EQ(cache_it(&l, p, 10), 10);
	CHECK(mmap(p + mrn_page_size(), mrn_page_size(), PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	fill(p, SIZE, 11);
	CHECK(live_touch(&l, p + mrn_page_size(), mrn_page_size(), 11) > 10);
	live_exit(&l);
}

TEST(malloc_hook_mremap_source)
{
	LIVE(l);
	char *p = map(NULL, SIZE, 1), *to = map(NULL, SIZE, 9);

	cache_it(&l, p, 1);
	CHECK(mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	map(p, SIZE, 2);
	CHECK_EQ(cache_it(&l, p, 2), 2);
	CHECK_EQ(cache_it(&l, to, 1), 3);
	live_exit(&l);
}

TEST(malloc_hook_mremap_destination)
{
	LIVE(l);
	char *p = map(NULL, SIZE, 1), *to = map(NULL, SIZE, 9);

	cache_it(&l, to, 9);
	CHECK(mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	CHECK_EQ(cache_it(&l, to, 1), 2);
	live_exit(&l);
}

TEST(malloc_hook_mremap_shrink)
{
	LIVE(l);
	char *p = map(NULL, SIZE, 1);

	cache_it(&l, p, 1);
	CHECK(mremap(p, SIZE, SIZE / 2, 0) == p);
	map(p + SIZE / 2, SIZE / 2, 1);
	CHECK_EQ(cache_it(&l, p, 1), 2);
	live_exit(&l);
}

/*
 * The kernel says REMOVE before it removes, so without a bracket this memory can be cached no more: it
 * is registered for one use at a time.
 */
static void check_after_remove(struct live *l, char *p, uint64_t serial, uint64_t generation,
			       bool bracketed)
{
	uint64_t now = live_touch(l, p, SIZE, generation);

	CHECK(now > serial);
	if (bracketed) {
		CHECK_EQ(live_touch(l, p, SIZE, generation), now);
		CHECK_EQ(stats_of(l->rig.cache).use_once, 0);
		return;
	}
	CHECK(live_touch(l, p, SIZE, generation) > now);
	CHECK_EQ(l->rig.dev.live, 0);
	CHECK_EQ(stats_of(l->rig.cache).use_once, 2);
}

TEST(malloc_hook_dontneed)
{
	LIVE(l);
	char *p = map(NULL, SIZE, 1);
	uint64_t serial = cache_it(&l, p, 1);

	CHECK_ERR(madvise(p, SIZE, MADV_DONTNEED), 0);
	fill(p, SIZE, 2);
	check_after_remove(&l, p, serial, 2, l.bracketed);
	live_exit(&l);
}

/* Past every library: seen by the kernel's events alone. */
TEST(use_once_after_raw_dontneed)
{
	LIVE(l);
	char *p = map(NULL, SIZE, 1), *other = map(NULL, SIZE, 7);
	uint64_t serial = cache_it(&l, p, 1);

	CHECK_ERR(mrn_sys3(SYS_madvise, (long)p, (long)SIZE, MADV_DONTNEED), 0);
	fill(p, SIZE, 2);
	check_after_remove(&l, p, serial, 2, false);
	/* Two uses at a time are two registrations. What is elsewhere is cached as ever. */
	cache_it(&l, other, 7);
	live_exit(&l);
}

TEST(raw_munmap_and_mmap)
{
	LIVE(l);
	char *p = map(NULL, SIZE, 1);
	const int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;

	cache_it(&l, p, 1);
	CHECK_ERR(mrn_sys2(SYS_munmap, (long)p, (long)SIZE), 0);
	map(p, SIZE, 2);
	CHECK_EQ(cache_it(&l, p, 2), 2);
	CHECK(mrn_sys6(SYS_mmap, (long)p, (long)SIZE, prot, flags | MAP_FIXED, -1, 0) == (long)p);
	fill(p, SIZE, 3);
	CHECK_EQ(cache_it(&l, p, 3), 3);
	live_exit(&l);
}

static char *attach_segment(int *id, char *at)
{
	char *p;

	*id = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | 0600);
	if (*id < 0)
		SKIP("no System V shared memory: %s", strerror(errno));
	p = shmat(*id, at, 0);
	shmctl(*id, IPC_RMID, NULL);
	CHECK(p != (char *)-1);
	return p;
}

/* The kernel sends no event for shmdt, nor for what SHM_REMAP replaces: it takes the interposer. */
static void only_bracketed(const struct live *l)
{
	if (!l->bracketed)
		SKIP("userfaultfd does not see it");
}

TEST(malloc_hook_shmdt)
{
	LIVE(l);
	int id;
	char *p = attach_segment(&id, NULL);
	uint64_t serial;

	only_bracketed(&l);
	fill(p, SIZE, 1);
	/* Cached where it can be armed against raw calls, else good for one use. */
	serial = live_touch(&l, p, SIZE, 1);
	CHECK_ERR(shmdt(p), 0);
	map(p, SIZE, 2);
	CHECK(live_touch(&l, p, SIZE, 2) > serial);
	live_exit(&l);
}

TEST(malloc_hook_shmat_remap)
{
	LIVE(l);
	char *p = map(NULL, SIZE, 1);
	int id;

	only_bracketed(&l);
	cache_it(&l, p, 1);
	id = shmget(IPC_PRIVATE, SIZE, IPC_CREAT | 0600);
	if (id < 0)
		SKIP("no System V shared memory: %s", strerror(errno));
	CHECK(shmat(id, p, SHM_REMAP) == p);
	shmctl(id, IPC_RMID, NULL);
	fill(p, SIZE, 2);
	CHECK(live_touch(&l, p, SIZE, 2) > 1);
	live_exit(&l);
}

/* ------------------------------------------------------------ UCX: malloc_hook, malloc and free */

/* More than any arena has left over, so that it must be mapped. */
#define BLOCK ((size_t)4 << 20)

/* Every large block is a mapping, and free unmaps it. */
static void large_blocks_are_mappings(void)
{
	if (test_is_sanitized())
		SKIP("the sanitizer's free does not unmap");
	/* Setting it stops malloc from raising it when such a block is freed. */
	CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 20));
	/* MALLOC_PERTURB_ fills all of each block twice: that would be most of the time. */
	CHECK(mallopt(M_PERTURB, 0));
}

/*
 * Under userfaultfd alone, one call of malloc or free at a time: what a block's last user has been
 * promised is that the token is there when free returns. For what is there before, see
 * reuse_before_munmap_returns. The interposer brackets free, and then no such care is needed.
 */
static pthread_mutex_t one_call = PTHREAD_MUTEX_INITIALIZER;

static void one_at_a_time(int (*what)(pthread_mutex_t *lock))
{
	if (!mrn_interposer_is_present())
		CHECK_EQ(what(&one_call), 0);
}

static char *lone_malloc(size_t size)
{
	char *p;

	one_at_a_time(pthread_mutex_lock);
	p = malloc(size);
	one_at_a_time(pthread_mutex_unlock);
	CHECK(p);
	return p;
}

static void lone_free(void *p)
{
	one_at_a_time(pthread_mutex_lock);
	free(p);
	one_at_a_time(pthread_mutex_unlock);
}

static void malloc_and_free(struct live *l, unsigned int rounds, uint64_t generation)
{
	for (unsigned int i = 0; i < rounds; i++, generation++) {
		char *p = lone_malloc(BLOCK), *whole = (char *)mrn_page_up((uintptr_t)p);
		size_t length = 24 * mrn_page_size();

		fill(whole, length, generation);
		live_touch(l, whole, length, generation);
		lone_free(p);
	}
}

TEST(malloc_hook_single_thread)
{
	large_blocks_are_mappings();
	LIVE(l);
	malloc_and_free(&l, 500, 1);
	CHECK(stats_of(l.rig.cache).invalidations > 450);
	live_exit(&l);
}

struct mallocer {
	struct live *l;
	unsigned int number;
	struct test_thread thread;
};

static void mallocer_main(void *arg)
{
	struct mallocer *m = arg;

	malloc_and_free(m->l, 200, (m->number + UINT64_C(1)) << 32);
}

TEST(malloc_hook_8_threads)
{
	struct mallocer m[8];

	large_blocks_are_mappings();
	LIVE(l);
	for (unsigned int i = 0; i < 8; i++) {
		m[i] = (struct mallocer){.l = &l, .number = i};
		test_thread(&m[i].thread, mallocer_main, &m[i]);
	}
	for (unsigned int i = 0; i < 8; i++)
		test_join(&m[i].thread);
	live_exit(&l);
}

/* realloc moves it with mremap, inside libc. */
TEST(malloc_hook_realloc)
{
	large_blocks_are_mappings();
	LIVE(l);
	for (uint64_t i = 1; i < 50; i++) {
		char *p = malloc(BLOCK), *whole = (char *)mrn_page_up((uintptr_t)p), *q;

		CHECK(p);
		fill(whole, SIZE, i);
		cache_it(&l, whole, i);
		q = realloc(p, 8 * BLOCK);
		CHECK(q);
		whole = (char *)mrn_page_up((uintptr_t)q);
		cache_it(&l, whole, i);
		if (p != q) {
			p = (char *)mrn_page_up((uintptr_t)p);
			if (mmap(p, SIZE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p) {
				fill(p, SIZE, 1000 + i);
				cache_it(&l, p, 1000 + i);
				CHECK_ERR(munmap(p, SIZE), 0);
			}
		}
		free(q);
	}
	live_exit(&l);
}

/* ----------------------------------------------------------------------------------- the source */

static bool anything_armed(const struct mrn_source *source)
{
	return mrn_marks_has(&source->uffd.armed, 0, UINTPTR_MAX, MRN_MARK_MAYBE);
}

/* Asks for what brackets see alone: nothing is armed, nothing disarmed, nothing stale. */
TEST(bracketed_alone)
{
	LIVE(l, .need = MRN_COVER_INTERPOSE);
	void *p = map(NULL, SIZE, 1);
	uint64_t serial;

	only_bracketed(&l);
	for (uint64_t i = 1; i < 20; i++) {
		CHECK_EQ(cache_it(&l, p, 2 * i - 1), 2 * i - 1);
		CHECK_ERR(madvise(p, SIZE, MADV_DONTNEED), 0);
		fill(p, SIZE, 2 * i);
		CHECK_EQ(cache_it(&l, p, 2 * i), 2 * i);
		CHECK_ERR(munmap(p, SIZE), 0);
		map(p, SIZE, 2 * i + 1);
	}
	CHECK(!anything_armed(l.source));
	serial = live_touch(&l, p, SIZE, 39);
	CHECK_EQ(cache_it(&l, p, 39), serial);
	CHECK_ERR(mrn_regcache_flush(l.rig.cache), 0);
	CHECK_ERR(munmap(p, SIZE), 0);
	live_exit(&l);
}

/* Beside one that asks for everything, on the same memory. */
TEST(bracketed_beside_armed)
{
	LIVE(l, .need = MRN_COVER_INTERPOSE);
	LIVE(all, .flags = 0);
	void *p = map(NULL, SIZE, 1);
	uint64_t generation = 1;

	only_bracketed(&l);
	for (unsigned int i = 0; i < 40; i++) {
		cache_it(&l, p, generation);
		live_touch(&all, p, SIZE, generation);
		CHECK(anything_armed(all.source));
		if (i % 4 == 1)
			CHECK_ERR(mrn_regcache_flush(all.rig.cache), 0);
		if (i % 4 == 3)
			CHECK_ERR(mrn_regcache_flush(l.rig.cache), 0);
		if (i % 3) {
			CHECK_ERR(madvise(p, SIZE, MADV_DONTNEED), 0);
			fill(p, SIZE, ++generation);
		} else {
			CHECK_ERR(munmap(p, SIZE), 0);
			map(p, SIZE, ++generation);
		}
	}
	NOTE("of %llu registrations, for one use: %llu",
	     (unsigned long long)stats_of(all.rig.cache).registrations,
	     (unsigned long long)stats_of(all.rig.cache).use_once);
	CHECK_ERR(mrn_regcache_flush(l.rig.cache), 0);
	live_exit(&all);
	CHECK(!anything_armed(l.source));
	CHECK_ERR(munmap(p, SIZE), 0);
	live_exit(&l);
}

TEST(need_not_covered)
{
	struct mrn_regcache *cache = NULL;
	char why[200] = "";
	struct mrn_regcache_opts config = {.size = sizeof(config),
					   .mm = mrn_mm_self(),
					   .ops = &stub_ops,
					   .need = MRN_CAUSE_BIT(MRN_CAUSE_FALLOCATE),
					   .why = why,
					   .why_size = sizeof(why)};
	struct live l;

	live_attach(&l);
	config.source = l.source;
	if (l.bracketed)
		config.need = UINT64_C(1) << 63;
	CHECK_ERR(mrn_regcache_create(&config, &cache), -EOPNOTSUPP);
	CHECK(!cache);
	CHECK_MSG(strstr(why, l.bracketed ? "unknown" : "fallocate"), "why: %s", why);
	/* No buffer for the sentence, or none to speak of. */
	config.why_size = 1;
	CHECK_ERR(mrn_regcache_create(&config, &cache), -EOPNOTSUPP);
	CHECK(!why[0]);
	config.why = NULL;
	CHECK_ERR(mrn_regcache_create(&config, &cache), -EOPNOTSUPP);
	CHECK_ERR(mrn_source_detach(l.source), 0);
}

TEST(source_detached)
{
	LIVE(l);
	char *p = map(NULL, SIZE, 1), *q = map(NULL, SIZE, 2);
	const struct mrn_regcache_entry *e, *held;
	uint64_t serial = cache_it(&l, p, 1);

	CHECK_ERR(mrn_regcache_get(l.rig.cache, q, SIZE, RD, &held), 0);
	stub_use(&l.rig.dev, held);
	CHECK_ERR(mrn_source_detach(l.source), 0);
	/* Neither what was cached nor what is new. */
	CHECK_ERR(mrn_regcache_get(l.rig.cache, p, SIZE, RD, &e), -ENOTCONN);
	CHECK_ERR(mrn_regcache_get(l.rig.cache, q, SIZE, RD, &e), -ENOTCONN);
	CHECK_EQ(stats_of(l.rig.cache).invalidations_by[MRN_CAUSE_DETACH], 2);
	CHECK_EQ(l.rig.dev.live, 1);
	put(&l.rig, held);
	CHECK_EQ(l.rig.dev.live, 0);
	/* The sources of a process are shared: it is the same one that is attached again. */
	live_attach(&l);
	CHECK(cache_it(&l, p, 1) > serial);
	live_exit(&l);
}

/* ----------------------------------------------------------------------------------------- fork */

TEST(kdreg2_child_of_live_cache)
{
	LIVE(l);
	char *p = map(NULL, SIZE, 1);
	const struct mrn_regcache_entry *e;
	uint64_t serial = cache_it(&l, p, 1);
	pid_t pid;

	if (TEST_TSAN)
		SKIP("ThreadSanitizer wants no fork of a process with threads");
	pid = fork();
	if (!pid) {
		CHECK_ERR(mrn_regcache_get(l.rig.cache, p, SIZE, RD, &e), -ESTALE);
		CHECK_ERR(munmap(p, SIZE), 0);
		CHECK_ERR(mrn_regcache_destroy(l.rig.cache), 0);
		CHECK_EQ(l.rig.dev.deregistered, 0);
		_exit(0);
	}
	CHECK_EQ(end_of(pid), 0);
	/* The child's munmap was its own. */
	CHECK_EQ(live_touch(&l, p, SIZE, 1), serial);
	CHECK_ERR(munmap(p, SIZE), 0);
	map(p, SIZE, 2);
	CHECK_EQ(live_touch(&l, p, SIZE, 2), serial + 1);
	live_exit(&l);
}
