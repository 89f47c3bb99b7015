/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads get regions and transfer, while others change the memory: also while it is being registered. Each transfer of
 * memory that has not changed since before its get must move the bytes that the memory holds.
 */
#include <stdlib.h>

#include "tests/verbs/fixture.h"

#define SLOTS	 32
#define READERS	 3
#define CHANGERS 2
#define LENGTH	 (160 << 10) /* more than malloc keeps: free unmaps it */

static struct slot {
	pthread_mutex_t lock;
	char *p, content;
	bool mallocated;
	unsigned long generation; /* of the memory */
} slots[SLOTS];

static struct {
	struct fixture f;
	pthread_mutex_t pair; /* one transfer at a time: what runs in parallel is registering */
	int changing;	      /* threads */
	uint64_t moved, overtaken, refused, stale;
} storm;

static void change(struct slot *slot, unsigned int how)
{
	slot->content++;
	slot->generation++;
	if (slot->mallocated) {
		free(slot->p);
		slot->p = malloc(LENGTH);
		CHECK(slot->p);
		memset(slot->p, slot->content, LENGTH);
	} else if (how == 0) {
		fixture_remap(slot->p, LENGTH, slot->content);
	} else if (how == 1) {
		CHECK_EQ(madvise(slot->p, LENGTH, MADV_DONTNEED), 0);
		memset(slot->p, slot->content, LENGTH);
	} else {
		CHECK_EQ(munmap(slot->p, LENGTH), 0);
		slot->p = fixture_map(LENGTH, slot->content);
	}
}

static void changer(void *arg)
{
	const int rounds = test_is_sanitized() ? 300 : 3000;
	struct test_rand rand;

	test_rand_init(&rand, (uintptr_t)arg);
	for (int n = 0; n < rounds; n++) {
		struct slot *slot = &slots[test_rand_below(&rand, SLOTS)];

		pthread_mutex_lock(&slot->lock);
		change(slot, (unsigned int)test_rand_below(&rand, 3));
		pthread_mutex_unlock(&slot->lock);
	}
	__atomic_fetch_sub(&storm.changing, 1, __ATOMIC_RELAXED);
}

/* With the slot locked: its memory is the one that the region was asked for. */
static void transfer(const struct slot *slot, const struct mrn_verbs_mr *mr, const char *at)
{
	struct fixture *f = &storm.f;

	pthread_mutex_lock(&storm.pair);
	pair_post(&f->pair, IBV_WR_RDMA_WRITE, at, mrn_verbs_lkey(mr), 64, f->other,
		  f->other_mr->rkey);
	CHECK_EQ(pair_wait(&f->pair), IBV_WC_SUCCESS);
	if (f->other[0] != slot->content || f->other[63] != slot->content)
		__atomic_fetch_add(&storm.stale, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&storm.pair);
	__atomic_fetch_add(&storm.moved, 1, __ATOMIC_RELAXED);
}

static void read_slot(struct slot *slot, size_t offset)
{
	struct mrn_verbs_mr *mr;
	unsigned long generation;
	char *at;
	int r;

	pthread_mutex_lock(&slot->lock);
	generation = slot->generation;
	at = slot->p + offset;
	pthread_mutex_unlock(&slot->lock);
	r = mrn_verbs_get(storm.f.v, at, 64, MRN_ACCESS_READ, &mr);
	if (r) {
		/* The memory was going, or kept changing. */
		CHECK_MSG(r == -EFAULT || r == -EAGAIN, "%d", r);
		__atomic_fetch_add(&storm.refused, 1, __ATOMIC_RELAXED);
		return;
	}
	pthread_mutex_lock(&slot->lock);
	if (slot->generation == generation)
		transfer(slot, mr, at);
	else
		__atomic_fetch_add(&storm.overtaken, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&slot->lock);
	CHECK_ERR(mrn_verbs_put(mr), 0);
}

static void reader(void *arg)
{
	struct test_rand rand;

	test_rand_init(&rand, 100 + (uintptr_t)arg);
	while (__atomic_load_n(&storm.changing, __ATOMIC_RELAXED))
		read_slot(&slots[test_rand_below(&rand, SLOTS)],
			  test_rand_below(&rand, LENGTH - 64));
}

TEST(storm, .timeout_s = 120)
{
	struct test_thread threads[READERS + CHANGERS];
	struct mrn_regcache_stats stats;

	fixture_open(&storm.f, 0);
	pthread_mutex_init(&storm.pair, NULL);
	storm.changing = CHANGERS;
	for (int i = 0; i < SLOTS; i++) {
		slots[i] = (struct slot){.content = 'A', .mallocated = i % 4 == 0};
		pthread_mutex_init(&slots[i].lock, NULL);
		slots[i].p = slots[i].mallocated ? malloc(LENGTH) : fixture_map(LENGTH, 'A');
		CHECK(slots[i].p);
		memset(slots[i].p, 'A', LENGTH);
	}
	for (int i = 0; i < READERS + CHANGERS; i++)
		test_thread(&threads[i], i < READERS ? reader : changer, (void *)(uintptr_t)i);
	for (int i = 0; i < READERS + CHANGERS; i++)
		test_join(&threads[i]);
	stats = fixture_stats(&storm.f);
	NOTE("moved %ju, stale %ju, overtaken %ju, refused %ju; hits %ju, invalidations %ju, retries %ju",
	     (uintmax_t)storm.moved, (uintmax_t)storm.stale, (uintmax_t)storm.overtaken,
	     (uintmax_t)storm.refused, (uintmax_t)stats.hits, (uintmax_t)stats.invalidations,
	     (uintmax_t)stats.retries);
	CHECK(storm.moved > 0);
	CHECK_EQ(storm.stale, 0);
	fixture_close(&storm.f);
}

TWIN(storm, no_notifier, BREAK_OPEN(CACHE_NOTIFIER));
