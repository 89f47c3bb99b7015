/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The armed map under several threads at once. Each has a buffer of its own, which it transfers from through the cache and a
 * device that really pins, and replaces by every kind of call; addresses go from one thread to another, and a thread that
 * flushes gives back what the others are about to rely on. A transfer that shows an older buffer is stale.
 */
#include <sched.h>

#include "tests/pin_device.h"
#include "tests/source/armed_fixture.h"

#define THREADS 3
#define MOST	8ul /* pages in a buffer */
#define ROUNDS	2000

static struct {
	struct pin_device dev;
	struct mrn_regcache *cache;
	unsigned int running;
	uint64_t transfers;
} storm;

struct buffer {
	char *p;
	size_t n;
	unsigned int raw; /* how often it was replaced by raw calls */
	uint64_t generation;
	struct test_rand rand;
};

static void fill(struct buffer *b)
{
	b->generation++;
	for (size_t i = 0; i < b->n; i++)
		*(uint64_t *)(b->p + i * PAGE) = b->generation << 8 | i;
}

static void transfer(struct buffer *b)
{
	bool all = test_rand_below(&b->rand, 2);
	size_t at = all ? 0 : test_rand_below(&b->rand, b->n);
	size_t n = all ? b->n : 1 + test_rand_below(&b->rand, b->n - at);
	const struct mrn_regcache_entry *entry;
	uint64_t got;

	CHECK_ERR(mrn_regcache_get(storm.cache, b->p + at * PAGE, n * PAGE, MRN_ACCESS_READ,
				   &entry),
		  0);
	/* The first and the last page show what the others would. */
	for (size_t i = at; i<at + n; i += n> 1 ? n - 1 : 1) {
		CHECK_ERR(pin_device_read(&storm.dev, entry, b->p + i * PAGE, &got, sizeof(got)),
			  0);
		CHECK_MSG(got == (b->generation << 8 | i), "stale: page %zu of generation %llu", i,
			  (unsigned long long)(b->generation - (got >> 8)));
	}
	CHECK_ERR(mrn_regcache_put(entry), 0);
	__atomic_fetch_add(&storm.transfers, 1, __ATOMIC_RELAXED);
}

static void map_anywhere(struct buffer *b)
{
	b->n = 1 + test_rand_below(&b->rand, MOST);
	b->p = mmap(NULL, b->n * PAGE, RW, ANON, -1, 0);
	CHECK(b->p != MAP_FAILED);
}

/*
 * A raw munmap frees the address before its event is read, so another thread may be given it by name at once; but not by a
 * raw mmap, which nobody sees: docs/sources.md.
 */
static void replace(struct buffer *b)
{
	switch (test_rand_below(&b->rand, 6)) {
	case 0:
		CHECK_EQ(munmap(b->p, b->n * PAGE), 0);
		map_anywhere(b);
		break;
	case 1:
		unmap_raw(b->p, b->n);
		map_anywhere(b);
		break;
	case 2:
		CHECK(mmap(b->p, b->n * PAGE, RW, ANON | MAP_FIXED, -1, 0) == b->p);
		break;
	case 3:
		map_raw(b->p, b->n, ANON | MAP_FIXED);
		break;
	case 4:
		CHECK_EQ(madvise(b->p, b->n * PAGE, MADV_DONTNEED), 0);
		break;
	default:
		b->p = mremap(b->p, b->n * PAGE, 2 * b->n * PAGE, MREMAP_MAYMOVE);
		CHECK(b->p != MAP_FAILED);
		CHECK_EQ(munmap(b->p + b->n * PAGE, b->n * PAGE), 0);
	}
	fill(b);
}

static void use_buffer(void *arg)
{
	struct buffer b = {0};

	test_rand_init(&b.rand, (uintptr_t)arg);
	map_anywhere(&b);
	fill(&b);
	for (uint64_t i = 0; test_round_is_due(i, ROUNDS); i++) {
		for (uint64_t n = test_rand_below(&b.rand, 16); n; n--)
			transfer(&b);
		replace(&b);
		transfer(&b);
	}
	CHECK_EQ(munmap(b.p, b.n * PAGE), 0);
	__atomic_sub_fetch(&storm.running, 1, __ATOMIC_RELEASE);
}

/* Others go on between the steps of a thread that arms or gives back. */
static void let_others(void)
{
	sched_yield();
}

TEST(own_buffers_are_never_stale)
{
	struct test_thread t[THREADS];
	struct mrn_regcache_stats s;
	struct consumer beside;
	unsigned int flushes = 0;
	char *p;

	pin_device_open(&storm.dev);
	open_source(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	storm.cache = pin_cache(&storm.dev, source, MRN_COVER_UFFD, 0);
	mrn_check_uffd_arm_hook = mrn_check_uffd_disarm_hook = mrn_check_uffd_registered_hook =
		mrn_check_uffd_sure_hook = let_others;
	storm.running = THREADS;
	p = map_apart(2);
	for (uintptr_t i = 0; i < THREADS; i++)
		test_thread(&t[i], use_buffer, (void *)i);
	/* A consumer beside the cache relies on what is armed, too. */
	while (__atomic_load_n(&storm.running, __ATOMIC_ACQUIRE)) {
		use_briefly(p, 2);
		consumer_insert(&beside, p, 2);
		CHECK_ERR(mrn_regcache_flush(storm.cache), 0);
		flushes++;
		consumer_build(&beside);
		map_raw(p, 1, ANON | MAP_FIXED);
		settle();
		CHECK_MSG(calls_of(&beside), "a change was not told");
		consumer_remove(&beside);
	}
	for (int i = 0; i < THREADS; i++)
		test_join(&t[i]);
	CHECK_ERR(mrn_regcache_get_stats(storm.cache, &s, sizeof(s)), 0);
	NOTE("%llu transfers, %llu hits, %llu registrations, %u flushes",
	     (unsigned long long)storm.transfers, (unsigned long long)s.hits,
	     (unsigned long long)s.registrations, flushes);
	CHECK(s.hits);
	check_map(p, 2);
	CHECK_ERR(mrn_regcache_destroy(storm.cache), 0);
	close_source();
	pin_device_close(&storm.dev);
}
TWIN(own_buffers_are_never_stale, events_leave_what_is_sure, UNTIL_CAUGHT(BREAK(ARMED_EVENT)));
