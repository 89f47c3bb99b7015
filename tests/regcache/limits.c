/* SPDX-License-Identifier: BSD-3-Clause */
/* What fits, what makes room, and what is refused. */
#include "regcache/cache.h"
#include "tests/regcache/fixture.h"

#include <sched.h>

/* cxi's cache_full: one registration too many evicts the least recently used, and it alone. */
TEST(cache_full)
{
	enum { N = 64 };
	RIG(rig, .max_entries = N);

	for (unsigned int i = 0; i < N; i++)
		touch(&rig, 10 + i, 11 + i, RD);
	CHECK_EQ(rig.dev.deregistered, 0);
	touch(&rig, 1000, 1001, RD);
	CHECK_EQ(rig.dev.deregistered, 1);
	CHECK_EQ(stats_of(rig.cache).evictions, 1);
	CHECK_EQ(stats_of(rig.cache).entries, N);
	CHECK(!registered(&rig, 10, 11));
	for (unsigned int i = 1; i < N; i++)
		CHECK_EQ(touch(&rig, 10 + i, 11 + i, RD), i + 1);
	CHECK_EQ(rig.dev.most_live, N);
	rig_exit(&rig);
}

/* Hits make young. Time goes by in misses: uses between the same two misses are equally old. */
TEST(lru_order_with_hits)
{
	enum { A = 10, B = 20, C = 30, D = 40, E = 50, F = 60, G = 70 };
	static const unsigned int first[] = {A, B, C, D};
	RIG(rig, .max_entries = 4);
	const struct mrn_regcache_entry *held;

	for (unsigned int i = 0; i < 4; i++)
		touch(&rig, first[i], first[i] + 1, RD);
	touch(&rig, A, A + 1, RD); /* B C {A D} */
	touch(&rig, E, E + 1, RD);
	CHECK(!registered(&rig, B, B + 1));
	touch(&rig, F, F + 1, RD); /* {A D} E F */
	CHECK(!registered(&rig, C, C + 1));
	touch(&rig, D, D + 1, RD); /* A E {D F} */
	touch(&rig, G, G + 1, RD);
	CHECK(!registered(&rig, A, A + 1));
	/* A put is a use: what has just been given back is not the oldest. E {D F} G */
	held = get(&rig, E, E + 1, RD);
	touch(&rig, A, A + 1, RD); /* held E; D or F goes */
	touch(&rig, B, B + 1, RD); /* the other */
	put(&rig, held);	   /* G A {B E} */
	CHECK(!registered(&rig, D, D + 1) && !registered(&rig, F, F + 1));
	touch(&rig, C, C + 1, RD);
	touch(&rig, D, D + 1, RD);
	CHECK(!registered(&rig, G, G + 1) && !registered(&rig, A, A + 1));
	CHECK(registered(&rig, E, E + 1) && registered(&rig, B, B + 1));
	CHECK_EQ(stats_of(rig.cache).evictions, 7);
	rig_exit(&rig);
}

TEST(ucx_rcache_limit_by_count)
{
	RIG(rig, .max_entries = 3);
	const struct mrn_regcache_entry *e[3], *none;

	for (unsigned int i = 0; i < 3; i++)
		e[i] = get(&rig, 10 * i + 10, 10 * i + 11, RD);
	/* What is in use is not evicted, alive or dead. */
	CHECK_ERR(try_get(&rig, 100, 101, RD, &none), -ENOSPC);
	invalidate(&rig, 10, 11);
	CHECK_ERR(try_get(&rig, 100, 101, RD, &none), -ENOSPC);
	CHECK(!none);
	CHECK_EQ(stats_of(rig.cache).failures, 2);
	put(&rig, e[1]);
	touch(&rig, 100, 101, RD);
	CHECK(!registered(&rig, 20, 21));
	put(&rig, e[0]);
	put(&rig, e[2]);
	CHECK_EQ(rig.dev.most_live, 3);
	rig_exit(&rig);
}

TEST(ucx_rcache_limit_by_size)
{
	RIG(rig, .max_bytes = 10 * mrn_page_size());
	const struct mrn_regcache_entry *none;

	touch(&rig, 10, 14, RD);
	touch(&rig, 20, 24, RD);
	touch(&rig, 30, 32, RD);
	CHECK_EQ(rig.dev.deregistered, 0);
	touch(&rig, 40, 41, RD);
	CHECK(!registered(&rig, 10, 14));
	CHECK_EQ(rig.dev.deregistered, 1);
	touch(&rig, 50, 53, RD);
	CHECK_EQ(rig.dev.deregistered, 1);
	touch(&rig, 60, 70, RD);
	CHECK_EQ(rig.dev.live, 1);
	CHECK_EQ(rig.dev.most_bytes, 10 * mrn_page_size());
	/* Too much whatever goes: then nothing need go. */
	CHECK_ERR(try_get(&rig, 60, 71, RD, &none), -ENOSPC);
	CHECK(registered(&rig, 60, 70));
	rig_exit(&rig);
}

TEST(ucx_rcache_limit_by_size_in_use)
{
	RIG(rig, .max_bytes = 10 * mrn_page_size());
	const struct mrn_regcache_entry *a = get(&rig, 10, 14, RD), *b = get(&rig, 20, 25, RD);
	const struct mrn_regcache_entry *none;

	CHECK_ERR(try_get(&rig, 30, 32, RD, &none), -ENOSPC);
	invalidate(&rig, 10, 14);
	CHECK_ERR(try_get(&rig, 30, 32, RD, &none), -ENOSPC);
	touch(&rig, 30, 31, RD);
	put(&rig, a);
	touch(&rig, 40, 44, RD);
	CHECK(registered(&rig, 30, 31));
	put(&rig, b);
	CHECK_EQ(stats_of(rig.cache).evictions, 0);
	rig_exit(&rig);
}

TEST(device_full_evicts_and_retries)
{
	RIG(rig, .max_entries = 16);
	const struct mrn_regcache_entry *e[3], *none;

	rig.dev.slots = 3;
	for (unsigned int i = 0; i < 3; i++)
		touch(&rig, 10 * i + 10, 10 * i + 11, RD);
	touch(&rig, 100, 101, RD);
	CHECK(!registered(&rig, 10, 11));
	CHECK_EQ(rig.dev.refused, 1);
	CHECK_EQ(stats_of(rig.cache).evictions, 1);
	/* What is dead goes before what is good. */
	invalidate(&rig, 30, 31);
	touch(&rig, 110, 111, RD);
	CHECK(!registered(&rig, 30, 31) && registered(&rig, 20, 21));
	CHECK_EQ(stats_of(rig.cache).evictions, 1);
	/* Everything in use: the device's word is final. */
	CHECK_ERR(mrn_regcache_flush(rig.cache), 0);
	for (unsigned int i = 0; i < 3; i++)
		e[i] = get(&rig, 10 * i + 10, 10 * i + 11, RD);
	CHECK_ERR(try_get(&rig, 100, 101, RD, &none), -ENOSPC);
	check_stats(rig.cache, &rig.dev);
	for (unsigned int i = 0; i < 3; i++)
		put(&rig, e[i]);
	rig_exit(&rig);
}

TEST(enomem_evicts_all_that_is_idle)
{
	RIG(rig, .max_entries = 16);
	const struct mrn_regcache_entry *held = get(&rig, 10, 11, RD), *none;

	for (unsigned int i = 1; i < 5; i++)
		touch(&rig, 10 * i + 10, 10 * i + 11, RD);
	rig.dev.fail = -ENOMEM;
	rig.dev.fail_times = 2;
	touch(&rig, 100, 101, RD);
	CHECK_EQ(stats_of(rig.cache).evictions, 2);
	rig.dev.fail_times = UINT32_MAX;
	CHECK_ERR(try_get(&rig, 110, 111, RD, &none), -ENOMEM);
	CHECK_EQ(rig.dev.live, 1);
	CHECK_EQ(stats_of(rig.cache).entries, 1);
	rig.dev.fail_times = 0;
	touch(&rig, 110, 111, RD);
	put(&rig, held);
	rig_exit(&rig);
}

TEST(ucx_rcache_failed_registration)
{
	static const int errors[] = {-EFAULT, -EPERM, -EIO, -EINVAL};
	RIG(rig, .max_entries = 4);
	const struct mrn_regcache_entry *none;

	touch(&rig, 50, 51, RD);
	rig.dev.fail_times = UINT32_MAX;
	for (unsigned int i = 0; i < 100; i++) {
		rig.dev.fail = errors[i % 4];
		CHECK_ERR(try_get(&rig, 10, 11, RD, &none), errors[i % 4]);
		CHECK(!none);
	}
	/* Nothing is left of it: no entry, no notifier, no slot; and nothing had to go for it. */
	CHECK_EQ(stats_of(rig.cache).entries, 1);
	CHECK_EQ(stats_of(rig.cache).failures, 100);
	CHECK_EQ(rig.dev.calls, 101);
	invalidate(&rig, 10, 11);
	CHECK_EQ(stats_of(rig.cache).invalidations, 0);
	rig.dev.fail_times = 0;
	CHECK_EQ(touch(&rig, 10, 11, RD), 2);
	rig_exit(&rig);
}

/* -------------------------------------------------------------------- room while others make it */

enum { NR_THREADS = 4 };

struct crowd {
	struct rig *rig;
	unsigned int number, rounds;
	struct test_barrier *start;
};

static void one_at_a_time(void *arg)
{
	struct crowd *c = arg;
	uintptr_t page = 1000 * (c->number + 1);
	const struct mrn_regcache_entry *e;

	test_barrier_wait(c->start);
	for (unsigned int i = 0; i < c->rounds; i++) {
		uintptr_t p = page + i % 7;

		CHECK_ERR(try_get(c->rig, p, p + 1, RD, &e), 0);
		accept_entry(&c->rig->dev, e, PAGE(p), PAGE(1), RD);
		if (i % 3 == 0)
			invalidate(c->rig, p, p + 1);
		if (i % 5 == 0)
			sched_yield();
		put(c->rig, e);
		if (i % 4 == 0)
			invalidate(c->rig, p, p + 1);
	}
}

/*
 * As many slots as threads, and each thread holds one entry at most: whatever is being evicted, reaped
 * or put by somebody else, there is always room.
 */
static void no_spurious_enospc(struct mrn_regcache_opts config)
{
	struct test_barrier at_start = TEST_BARRIER_INIT(NR_THREADS);
	struct crowd crowd[NR_THREADS];
	struct test_thread t[NR_THREADS];
	struct rig rig;

	rig_init(&rig, config);
	for (unsigned int i = 0; i < NR_THREADS; i++) {
		crowd[i] = (struct crowd){&rig, i, ROUNDS(40000), &at_start};
		test_thread(&t[i], one_at_a_time, &crowd[i]);
	}
	for (unsigned int i = 0; i < NR_THREADS; i++)
		test_join(&t[i]);
	CHECK(rig.dev.most_live <= NR_THREADS);
	NOTE("registrations %llu evictions %llu", (unsigned long long)rig.dev.registered,
	     (unsigned long long)stats_of(rig.cache).evictions);
	rig_exit(&rig);
}

TEST(no_spurious_enospc_by_count)
{
	no_spurious_enospc((struct mrn_regcache_opts){.max_entries = NR_THREADS});
}

TEST(no_spurious_enospc_by_size)
{
	no_spurious_enospc((struct mrn_regcache_opts){.max_bytes = NR_THREADS * mrn_page_size()});
}

static void from_one_to_another(void *arg)
{
	struct crowd *c = arg;

	test_barrier_wait(c->start);
	for (unsigned int i = 0; i < c->rounds; i++) {
		/* A few of one's own, which are hit again and again, and now and then another's. */
		uintptr_t p = 10 + c->number + NR_THREADS * (i % 2) + (i % 64 ? 0 : 1);

		touch(c->rig, p, p + 1, RD);
	}
}

/* The same with hits, which take no lock: a thread puts this and gets that while another looks for room. */
TEST(no_spurious_enospc_by_hits)
{
	struct test_barrier at_start = TEST_BARRIER_INIT(NR_THREADS);
	RIG(rig, .max_entries = NR_THREADS);
	struct crowd crowd[NR_THREADS];
	struct test_thread t[NR_THREADS];

	for (unsigned int i = 0; i < NR_THREADS; i++) {
		crowd[i] = (struct crowd){&rig, i, ROUNDS(40000), &at_start};
		test_thread(&t[i], from_one_to_another, &crowd[i]);
	}
	for (unsigned int i = 0; i < NR_THREADS; i++)
		test_join(&t[i]);
	NOTE("hits %llu misses %llu", (unsigned long long)stats_of(rig.cache).hits,
	     (unsigned long long)stats_of(rig.cache).misses);
	rig_exit(&rig);
}

static struct rig *change_rig;
static const struct mrn_regcache_entry *change_held;
static unsigned int change_looks;

/* As another thread would, without a lock: puts the entry that has been looked at, and hits the one that comes. */
static void change_over(void)
{
	if (++change_looks != 2)
		return;
	CHECK_ERR(mrn_regcache_put(change_held), 0);
	CHECK_ERR(try_get(change_rig, 20, 21, RD, &change_held), 0);
}

/* One entry of two was idle all the time. */
TEST(room_while_one_thread_puts_this_and_gets_that)
{
	RIG(rig, .max_entries = 2);

	CHECK_ERR(try_get(&rig, 10, 11, RD, &change_held), 0);
	touch(&rig, 20, 21, RD);
	change_rig = &rig;
	mrn_check_evict_hook = change_over;
	touch(&rig, 30, 31, RD);
	CHECK(change_looks >= 2);
	mrn_check_evict_hook = NULL;
	CHECK(!registered(&rig, 10, 11));
	CHECK_ERR(mrn_regcache_put(change_held), 0);
	rig_exit(&rig);
}

TWIN(room_while_one_thread_puts_this_and_gets_that, one_look, BREAK(CACHE_QUEUING));

/* Holds the first thread that comes there between a last put and the stack of what is to be retired. */
static struct test_gate claim_entered, claim_leave;
static bool claim_at;
static uint32_t claim_taken;

static void hold_claim(bool is_ours)
{
	if (is_ours != claim_at || __atomic_exchange_n(&claim_taken, 1, __ATOMIC_ACQ_REL))
		return;
	test_gate_open(&claim_entered);
	test_gate_wait(&claim_leave);
}

static void put_it(void *entry)
{
	CHECK_ERR(mrn_regcache_put(entry), 0);
}

static void invalidate_10(void *rig)
{
	invalidate(rig, 10, 11);
}

struct getter {
	struct rig *rig;
	uintptr_t page;
	const struct mrn_regcache_entry *e;
	int r;
	uint32_t done;
};

/* Opens when a getter waits for threads that deregister, or need not wait. */
static struct test_gate waits_or_done;

static void note_wait(void)
{
	test_gate_open(&waits_or_done);
}

static void get_it(void *arg)
{
	struct getter *g = arg;

	g->r = try_get(g->rig, g->page, g->page + 1, RD, &g->e);
	__atomic_store_n(&g->done, 1, __ATOMIC_RELEASE);
	test_gate_open(&waits_or_done);
}

/* fn leaves one entry dead and idle. What holds a getter up, if anything, must be the one who has it in hand. */
static void room_is_coming(struct rig *rig, void (*fn)(void *arg), void *arg, bool pushing)
{
	struct getter g = {.rig = rig, .page = 20};
	struct test_thread t[2];

	claim_at = pushing;
	mrn_check_claim_hook = hold_claim;
	test_thread(&t[0], fn, arg);
	test_gate_wait(&claim_entered);
	test_thread(&t[1], get_it, &g);
	/* It claims what nobody has claimed, and waits for who has. */
	while (pushing && !__atomic_load_n(&g.done, __ATOMIC_ACQUIRE) &&
	       !(__atomic_load_n(&rig->cache->queuing, __ATOMIC_ACQUIRE) & QUEUING_WAITED))
		sched_yield();
	if (!pushing)
		test_join(&t[1]);
	test_gate_open(&claim_leave);
	if (pushing)
		test_join(&t[1]);
	test_join(&t[0]);
	CHECK_ERR(g.r, 0);
	CHECK_ERR(mrn_regcache_put(g.e), 0);
	rig_exit(rig);
}

TEST(room_before_the_last_put_is_claimed)
{
	RIG(rig, .max_entries = 1);
	const struct mrn_regcache_entry *e;

	CHECK_ERR(try_get(&rig, 10, 11, RD, &e), 0);
	invalidate(&rig, 10, 11);
	room_is_coming(&rig, put_it, (void *)(uintptr_t)e, false);
}

TWIN(room_before_the_last_put_is_claimed, in_use, BREAK(CACHE_QUEUING));

TEST(room_before_the_last_put_is_pushed)
{
	RIG(rig, .max_entries = 1);
	const struct mrn_regcache_entry *e;

	CHECK_ERR(try_get(&rig, 10, 11, RD, &e), 0);
	invalidate(&rig, 10, 11);
	room_is_coming(&rig, put_it, (void *)(uintptr_t)e, true);
}

TWIN(room_before_the_last_put_is_pushed, in_use, BREAK(CACHE_QUEUING));

/* An invalidation does the same in whoever's munmap. By bytes, where slots are left. */
TEST(room_before_what_is_invalidated_is_pushed)
{
	RIG(rig, .max_bytes = mrn_page_size());

	touch(&rig, 10, 11, RD);
	room_is_coming(&rig, invalidate_10, &rig, true);
}

/* And where the device says that it is full. */
TEST(room_in_the_device_before_the_last_put_is_pushed)
{
	RIG(rig, .max_entries = 16);
	const struct mrn_regcache_entry *e;

	rig.dev.slots = 1;
	CHECK_ERR(try_get(&rig, 10, 11, RD, &e), 0);
	invalidate(&rig, 10, 11);
	room_is_coming(&rig, put_it, (void *)(uintptr_t)e, true);
}

TWIN(room_in_the_device_before_the_last_put_is_pushed, in_use, BREAK(CACHE_QUEUING));

/* Nor is a device full while another thread makes room in it, */
TEST(room_in_the_device_while_another_makes_it)
{
	RIG(rig, .max_entries = 16);
	struct test_gate entered = TEST_GATE_INIT, leave = TEST_GATE_INIT;
	struct getter g = {.rig = &rig, .page = 20};
	const struct mrn_regcache_entry *e;
	struct test_thread t[2];

	rig.dev.slots = 1;
	mrn_check_wait_for_room_hook = note_wait;
	CHECK_ERR(try_get(&rig, 10, 11, RD, &e), 0);
	invalidate(&rig, 10, 11);
	rig.dev.on_deregister = (struct stub_stop){&entered, &leave, NULL};
	test_thread(&t[0], put_it, (void *)(uintptr_t)e);
	test_gate_wait(&entered);
	test_thread(&t[1], get_it, &g);
	test_gate_wait(&waits_or_done);
	test_gate_open(&leave);
	test_join(&t[1]);
	test_join(&t[0]);
	rig.dev.on_deregister = (struct stub_stop){0};
	CHECK_ERR(g.r, 0);
	CHECK_ERR(mrn_regcache_put(g.e), 0);
	rig_exit(&rig);
}

TWIN(room_in_the_device_while_another_makes_it, in_use, BREAK(CACHE_RETIRING));

/* nor if another has made it before this one hears that there was none. */
TEST(room_in_the_device_that_comes_while_it_refuses)
{
	RIG(rig, .max_entries = 16);
	struct test_gate entered = TEST_GATE_INIT, leave = TEST_GATE_INIT;
	struct getter g = {.rig = &rig, .page = 20};
	const struct mrn_regcache_entry *e;
	struct test_thread t;

	CHECK_ERR(try_get(&rig, 10, 11, RD, &e), 0);
	invalidate(&rig, 10, 11);
	rig.dev.on_register = (struct stub_stop){&entered, &leave, NULL};
	rig.dev.fail = -ENOSPC;
	rig.dev.fail_times = 1;
	test_thread(&t, get_it, &g);
	test_gate_wait(&entered);
	CHECK_ERR(mrn_regcache_put(e), 0);
	CHECK_EQ(rig.dev.live, 0);
	test_gate_open(&leave);
	test_join(&t);
	CHECK_ERR(g.r, 0);
	CHECK_EQ(rig.dev.refused, 1);
	CHECK_ERR(mrn_regcache_put(g.e), 0);
	rig_exit(&rig);
}

TWIN(room_in_the_device_that_comes_while_it_refuses, in_use, BREAK(CACHE_ENDED));

/* ----------------------------------------------------------------- an entry that leaves for another */

/* Evicts for page 20 and stops before the evicted entry is deregistered. */
struct eviction {
	struct getter getter;
	struct test_gate entered, leave;
	struct test_thread thread;
};

static void eviction_begin(struct eviction *v, struct rig *rig)
{
	*v = (struct eviction){.getter = {.rig = rig, .page = 20}};
	rig->dev.on_deregister = (struct stub_stop){&v->entered, &v->leave, NULL};
	test_thread(&v->thread, get_it, &v->getter);
	test_gate_wait(&v->entered);
	mrn_check_wait_for_room_hook = note_wait;
}

static void eviction_end(struct eviction *v)
{
	test_join(&v->thread);
	CHECK_ERR(v->getter.r, 0);
	CHECK_ERR(mrn_regcache_put(v->getter.e), 0);
}

/* The rest of its bytes are neither free before it is deregistered, nor lacking for who needs them. */
TEST(room_when_an_evicted_entry_leaves)
{
	RIG(rig, .max_bytes = 4 * mrn_page_size());
	struct getter g = {.rig = &rig, .page = 30};
	struct test_thread t;
	struct eviction v;

	touch(&rig, 10, 14, RD);
	eviction_begin(&v, &rig);
	test_thread(&t, get_it, &g);
	test_gate_wait(&waits_or_done);
	test_gate_open(&v.leave);
	test_join(&t);
	eviction_end(&v);
	CHECK_ERR(g.r, 0);
	CHECK_ERR(mrn_regcache_put(g.e), 0);
	CHECK_EQ(rig.dev.most_bytes, 4 * mrn_page_size());
	CHECK_EQ(stats_of(rig.cache).evictions, 1);
	rig_exit(&rig);
}

TWIN(room_when_an_evicted_entry_leaves, not_counted, BREAK(CACHE_RETIRING));
TWIN(room_when_an_evicted_entry_leaves, free_at_once, BREAK(CACHE_BYTES));

static void get_in_invalidation_of_20(void *arg)
{
	struct getter *g = arg;
	struct mmu_notifier_range r = pages(g->rig->mm, 20, 21);

	start(&r);
	get_it(g);
	end(&r);
}

/* Who waits for room waits for a deregistration, not for what the evictor waits for afterwards. */
TEST(no_room_while_the_evictor_waits_for_this_thread)
{
	RIG(rig, .max_entries = 1);
	struct getter g = {.rig = &rig, .page = 30};
	struct test_thread t;
	struct eviction v;

	touch(&rig, 10, 11, RD);
	eviction_begin(&v, &rig);
	test_thread(&t, get_in_invalidation_of_20, &g);
	test_gate_wait(&waits_or_done);
	test_gate_open(&v.leave);
	test_join(&t);
	eviction_end(&v);
	CHECK_ERR(g.r, -ENOSPC);
	rig_exit(&rig);
}

/* ------------------------------------------------------------------------------- bounded queues */

/* UCX's forty thousand unmaps: what is queued is the entries that there are, never more. */
TEST(ucx_rcache_40000_munmaps)
{
	enum { N = 128, MUNMAPS = 40000 };
	RIG(rig, .max_entries = N);
	struct mrn_regcache_stats s;

	for (unsigned int i = 0; i < N; i++)
		touch(&rig, 10 + i, 11 + i, RD);
	for (unsigned int i = 0; i < MUNMAPS; i++)
		invalidate(&rig, 10 + i % N, 11 + i % N);
	s = stats_of(rig.cache);
	CHECK_EQ(s.invalidations, N);
	CHECK_EQ(s.entries, N);
	CHECK_EQ(rig.dev.live, N);
	touch(&rig, 5000, 5001, RD);
	CHECK_EQ(rig.dev.live, 1);

	/* And with a registration for each of them. */
	for (unsigned int i = 0; i < MUNMAPS; i++) {
		touch(&rig, 10 + i, 11 + i, RD);
		invalidate(&rig, 10 + i, 11 + i);
		CHECK(rig.dev.live <= N);
	}
	s = stats_of(rig.cache);
	CHECK_EQ(s.invalidations, N + MUNMAPS);
	CHECK(s.entries <= 2);
	rig_exit(&rig);
}

/* kdreg2's 512 Ki regions, all registered at a time. */
TEST(kdreg2_512_ki_regions, .slow = true, .timeout_s = 120)
{
	const unsigned int n = TEST_TSAN ? 32 << 10 : TEST_ASAN ? 128 << 10 : 512 << 10;
	RIG(rig, .max_entries = n);
	uint64_t t0 = test_now_ns(), t1, t2;
	struct mrn_regcache_stats s;

	for (unsigned int i = 0; i < n; i++)
		touch(&rig, 10 + 2 * i, 11 + 2 * i, RD);
	t1 = test_now_ns();
	for (unsigned int i = 0; i < n; i++)
		CHECK_EQ(touch(&rig, 10 + 2 * i, 11 + 2 * i, RD), i + 1);
	t2 = test_now_ns();
	CHECK_EQ(rig.dev.live, n);
	invalidate(&rig, 10, 10 + n);
	s = stats_of(rig.cache);
	CHECK_EQ(s.invalidations, n / 2);
	CHECK_EQ(s.hits, n);
	CHECK_ERR(mrn_regcache_reap(rig.cache), 0);
	CHECK_EQ(rig.dev.live, n / 2);
	NOTE("regions %u, each: miss %llu ns, hit %llu ns", n, (unsigned long long)(t1 - t0) / n,
	     (unsigned long long)(t2 - t1) / n);
	rig_exit(&rig);
}
