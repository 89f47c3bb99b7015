/* SPDX-License-Identifier: BSD-3-Clause */
/* Invalidations, other threads and callbacks that come between, each at a chosen place. */
#include "tests/regcache/fixture.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "regcache/cache.h"

/* A get in another thread. */
struct getter {
	struct rig *rig;
	uintptr_t from, to;
	int error;
	const struct mrn_regcache_entry *entry;
	struct test_gate done;
	struct test_thread thread;
};

static void getter_main(void *arg)
{
	struct getter *g = arg;

	g->error = try_get(g->rig, g->from, g->to, RD, &g->entry);
	if (!g->error)
		accept_entry(&g->rig->dev, g->entry, PAGE(g->from), PAGE(g->to) - PAGE(g->from),
			     RD);
	test_gate_open(&g->done);
}

static void getter_start(struct getter *g, struct rig *rig, uintptr_t from, uintptr_t to)
{
	*g = (struct getter){.rig = rig, .from = from, .to = to};
	test_thread(&g->thread, getter_main, g);
}

static const struct mrn_regcache_entry *getter_end(struct getter *g)
{
	test_join(&g->thread);
	CHECK_ERR(g->error, 0);
	return g->entry;
}

/* Opens when a thread is about to wait for a token. */
static struct test_gate waiting;

static void note_wait(uint64_t seq)
{
	test_gate_open(&waiting);
}

/* -------------------------------------------------------------------------------------- retries */

static void invalidate_once(struct stub_device *dev, const struct mrn_regcache_entry *entry)
{
	dev->on_register.fn = NULL;
	invalidate(dev->arg, 10, 11);
}

TEST(invalidated_while_registering)
{
	RIG(rig, .max_entries = 4);

	rig.dev.arg = &rig;
	rig.dev.on_register.fn = invalidate_once;
	/* The first registration is thrown away, never handed out. */
	CHECK_EQ(touch(&rig, 10, 12, RD), 2);
	CHECK_EQ(rig.dev.deregistered, 1);
	CHECK_EQ(stats_of(rig.cache).retries, 1);
	CHECK_EQ(touch(&rig, 10, 12, RD), 2);
	rig_exit(&rig);
}

/* The same from another thread, which is in the middle of it: start before, end after the register. */
TEST(invalidation_spans_registering)
{
	RIG(rig, .max_entries = 4);
	struct test_gate entered = TEST_GATE_INIT, leave = TEST_GATE_INIT;
	struct mmu_notifier_range r = pages(rig.mm, 11, 12);
	struct getter g;

	rig.dev.on_register = (struct stub_stop){&entered, &leave, NULL};
	waiting = (struct test_gate)TEST_GATE_INIT;
	mrn_check_wait_hook = note_wait;
	getter_start(&g, &rig, 10, 12);
	test_gate_wait(&entered);
	start(&r);
	test_gate_open(&leave);
	/* It tries again, and must not get anywhere before the end. */
	test_gate_wait(&waiting);
	CHECK_EQ(rig.dev.calls, 1);
	CHECK(!test_gate_is_open(&g.done));
	end(&r);
	put(&rig, getter_end(&g));
	CHECK_EQ(stats_of(rig.cache).retries, 1);
	CHECK_EQ(rig.dev.registered, 2);
	rig_exit(&rig);
}

static struct mrn_mm *ending;

static void end_the_mm(void)
{
	CHECK_ERR(mrn_mm_destroy(ending), 0);
}

/* Nobody is told any more of what is registered after the end. */
TEST(the_mm_ends_while_registering)
{
	RIG(rig, .max_entries = 4);
	const struct mrn_regcache_entry *e;

	ending = rig.mm;
	mrn_check_inserted_hook = end_the_mm;
	CHECK_ERR(try_get(&rig, 10, 12, RD, &e), -ESRCH);
	mrn_check_inserted_hook = NULL;
	CHECK_ERR(try_get(&rig, 10, 12, RD, &e), -ESRCH);
	CHECK_EQ(rig.dev.live, 0);
	CHECK_ERR(mrn_regcache_destroy(rig.cache), 0);
}

/* A get that begins inside an invalidation waits for it, hit or miss. */
TEST(get_waits_for_invalidation)
{
	RIG(rig, .max_entries = 4);
	struct mmu_notifier_range r = pages(rig.mm, 11, 12);
	struct getter g;

	touch(&rig, 10, 12, RD);
	touch(&rig, 10, 11, WR);
	waiting = (struct test_gate)TEST_GATE_INIT;
	mrn_check_wait_hook = note_wait;
	start(&r);
	/* What it does not concern does not wait. */
	CHECK_EQ(touch(&rig, 10, 11, WR), 2);
	touch(&rig, 20, 21, WR);
	getter_start(&g, &rig, 10, 12);
	test_gate_wait(&waiting);
	CHECK(!test_gate_is_open(&g.done));
	end(&r);
	put(&rig, getter_end(&g));
	CHECK_EQ(rig.dev.registered, 4);
	rig_exit(&rig);
}

static void invalidate_always(struct stub_device *dev, const struct mrn_regcache_entry *entry)
{
	invalidate(dev->arg, 10, 11);
}

TEST(thousand_collisions)
{
	RIG(rig, .max_entries = 4);
	const struct mrn_regcache_entry *none;
	struct mrn_regcache_stats s;

	rig.dev.arg = &rig;
	rig.dev.on_register.fn = invalidate_always;
	CHECK_ERR(try_get(&rig, 10, 11, RD, &none), -EAGAIN);
	CHECK(!none);
	s = stats_of(rig.cache);
	CHECK_EQ(s.retries, 1000);
	CHECK_EQ(s.failures, 1);
	CHECK_EQ(s.entries, 0);
	CHECK_EQ(rig.dev.live, 0);
	CHECK(!rig.mm->index.root);
	rig.dev.on_register.fn = NULL;
	touch(&rig, 10, 11, RD);
	rig_exit(&rig);
}

/* Flush, too, reaches what is being registered. */
static void flush_main(void *arg)
{
	struct rig *rig = arg;

	CHECK_ERR(mrn_regcache_flush(rig->cache), 0);
}

/* The device must not call into the cache, but another thread may. */
static void flush_elsewhere(struct stub_device *dev, const struct mrn_regcache_entry *entry)
{
	struct test_thread t;

	dev->on_register.fn = NULL;
	test_thread(&t, flush_main, dev->arg);
	test_join(&t);
}

TEST(flushed_while_registering)
{
	RIG(rig, .max_entries = 4);

	rig.dev.arg = &rig;
	rig.dev.on_register.fn = flush_elsewhere;
	CHECK_EQ(touch(&rig, 10, 11, RD), 2);
	CHECK_EQ(rig.dev.live, 1);
	rig_exit(&rig);
}

/* -------------------------------------------------------------------------------- two at a time */

TEST(two_threads_miss_the_same_range)
{
	RIG(rig, .max_entries = 4);
	struct test_gate entered = TEST_GATE_INIT, leave = TEST_GATE_INIT;
	const struct mrn_regcache_entry *a, *b;
	struct getter g;

	rig.dev.on_register = (struct stub_stop){&entered, &leave, NULL};
	getter_start(&g, &rig, 10, 11);
	test_gate_wait(&entered);
	rig.dev.on_register = (struct stub_stop){0};
	a = get(&rig, 10, 11, RD);
	test_gate_open(&leave);
	b = getter_end(&g);
	CHECK(a == b);
	CHECK_EQ(rig.dev.live, 1);
	CHECK_EQ(rig.dev.registered, 2);
	put(&rig, a);
	put(&rig, b);
	CHECK_EQ(stats_of(rig.cache).invalidations, 0);
	rig_exit(&rig);
}

/* A device that is slow to deregister: a get that needs the room waits for it and is not refused. */
TEST(get_waits_for_room)
{
	RIG(rig, .max_entries = 1);
	struct test_gate entered = TEST_GATE_INIT, leave = TEST_GATE_INIT;
	struct getter g, h;

	touch(&rig, 10, 11, RD);
	rig.dev.on_deregister = (struct stub_stop){&entered, &leave, NULL};
	getter_start(&g, &rig, 20, 21);
	test_gate_wait(&entered);
	getter_start(&h, &rig, 20, 21);
	CHECK(!test_gate_wait_ms(&h.done, 20));
	test_gate_open(&leave);
	/* The same entry serves both, or the second found the only slot in use by the first. */
	test_join(&g.thread);
	test_join(&h.thread);
	CHECK(!g.error || !h.error);
	if (g.error)
		CHECK_ERR(g.error, -ENOSPC);
	if (h.error)
		CHECK_ERR(h.error, -ENOSPC);
	if (!g.error)
		put(&rig, g.entry);
	if (!h.error)
		put(&rig, h.entry);
	rig_exit(&rig);
}

/*
 * UCX: deregistration deferred, and not lost, under lock. The invalidation comes while a thread sits in
 * register, in deregister, or holds the cache's lock; it never waits for any of them.
 */
TEST(ucx_rcache_deferred_while_registering)
{
	RIG(rig, .max_entries = 4);
	struct test_gate entered = TEST_GATE_INIT, leave = TEST_GATE_INIT;
	struct getter g;

	touch(&rig, 10, 11, RD);
	rig.dev.on_register = (struct stub_stop){&entered, &leave, NULL};
	getter_start(&g, &rig, 20, 21);
	test_gate_wait(&entered);
	invalidate(&rig, 10, 11);
	CHECK_EQ(rig.dev.deregistered, 0);
	test_gate_open(&leave);
	put(&rig, getter_end(&g));
	CHECK_EQ(rig.dev.deregistered, 1);
	CHECK(!registered(&rig, 10, 11));
	rig_exit(&rig);
}

TEST(ucx_rcache_deferred_while_deregistering)
{
	RIG(rig, .max_entries = 4);
	struct test_gate entered = TEST_GATE_INIT, leave = TEST_GATE_INIT;
	struct getter g;

	touch(&rig, 10, 11, RD);
	touch(&rig, 20, 21, RD);
	invalidate(&rig, 10, 11);
	rig.dev.on_deregister = (struct stub_stop){&entered, &leave, NULL};
	getter_start(&g, &rig, 30, 31);
	test_gate_wait(&entered);
	/* One that waits, and the very one that is on its way out. */
	invalidate(&rig, 20, 21);
	invalidate(&rig, 10, 11);
	CHECK_EQ(stats_of(rig.cache).invalidations, 2);
	test_gate_open(&leave);
	put(&rig, getter_end(&g));
	CHECK_EQ(rig.dev.live, 1);
	rig_exit(&rig);
}

TEST(ucx_rcache_deferred_under_lock)
{
	RIG(rig, .max_entries = 4);

	touch(&rig, 10, 11, RD);
	/* As a get or a put of another thread would. */
	mrn_mutex_lock(&rig.cache->lock);
	invalidate(&rig, 10, 11);
	mrn_mutex_unlock(&rig.cache->lock);
	CHECK_ERR(mrn_regcache_reap(rig.cache), 0);
	CHECK_EQ(rig.dev.live, 0);
	rig_exit(&rig);
}

/* ---------------------------------------------------------------------------- inside a callback */

struct hook {
	struct mmu_range_notifier mrn;
	struct rig *rig;
	const struct mrn_regcache_entry *held;
	unsigned int calls;
	void (*fn)(struct hook *h);
};

static bool hook_invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			    uint64_t cur_seq)
{
	struct hook *h = (struct hook *)mrn;

	mmu_range_notifier_update_seq(mrn, cur_seq);
	h->calls++;
	h->fn(h);
	return true;
}

/* A notifier over pages [100, 101), whose callback is fn. */
static void hook_init(struct hook *h, struct rig *rig, void (*fn)(struct hook *h))
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = hook_invalidate};

	*h = (struct hook){.rig = rig, .fn = fn, .mrn.ops = &ops};
	CHECK_ERR(mmu_range_notifier_insert(&h->mrn, PAGE(100), PAGE(1), rig->mm), 0);
}

static void hook_exit(struct hook *h)
{
	CHECK_EQ(h->calls, 1);
	CHECK_ERR(mmu_range_notifier_remove(&h->mrn), 0);
}

static void put_held(struct hook *h)
{
	put(h->rig, h->held);
}

TEST(put_in_callback)
{
	RIG(rig, .max_entries = 4);
	struct hook h;

	hook_init(&h, &rig, put_held);
	h.held = get(&rig, 10, 11, RD);
	invalidate(&rig, 10, 11);
	invalidate(&rig, 100, 101);
	/* Given back, but not undone there; and not lost. */
	CHECK(registered(&rig, 10, 11));
	CHECK_EQ(stats_of(rig.cache).entries_in_use, 0);
	CHECK_EQ(touch(&rig, 20, 21, RD), 2);
	CHECK(!registered(&rig, 10, 11));
	hook_exit(&h);
	rig_exit(&rig);
}

static void call_all(struct hook *h)
{
	const struct mrn_regcache_entry *e = NULL;

	/* A miss, and what its own invalidation covers. */
	CHECK_ERR(try_get(h->rig, 50, 51, RD, &e), -EDEADLK);
	CHECK_ERR(try_get(h->rig, 100, 101, RD, &e), -EDEADLK);
	CHECK_ERR(mrn_regcache_reap(h->rig->cache), -EDEADLK);
	CHECK_ERR(mrn_regcache_flush(h->rig->cache), -EDEADLK);
	CHECK_ERR(mrn_regcache_destroy(h->rig->cache), -EDEADLK);
	CHECK(!e);
}

TEST(calls_in_callback)
{
	RIG(rig, .max_entries = 4);
	struct hook h;

	touch(&rig, 100, 101, RD);
	hook_init(&h, &rig, call_all);
	invalidate(&rig, 100, 101);
	hook_exit(&h);
	touch(&rig, 50, 51, RD);
	rig_exit(&rig);
}

static void get_elsewhere(struct hook *h)
{
	const struct mrn_regcache_entry *e = NULL;

	CHECK_ERR(try_get(h->rig, 10, 11, RD, &e), -EDEADLK);
}

/* As the header says it: also where there would be a hit. */
TEST(hit_in_callback)
{
	RIG(rig, .max_entries = 4);
	struct hook h;

	touch(&rig, 10, 11, RD);
	hook_init(&h, &rig, get_elsewhere);
	invalidate(&rig, 100, 101);
	hook_exit(&h);
	rig_exit(&rig);
}

static void get_in_other_mm(struct hook *h)
{
	const struct mrn_regcache_entry *e = NULL;

	put(h->rig, get(h->rig, 10, 11, RD));
	CHECK_ERR(try_get(h->rig, 50, 51, RD, &e), -EDEADLK);
	CHECK(!e);
}

/* Nothing happens to the cache's mm: a hit waits for nobody, a miss might. */
TEST(hit_in_other_mms_callback)
{
	RIG(rig, .max_entries = 4);
	RIG(other, .max_entries = 4);
	struct hook h;

	touch(&rig, 10, 11, RD);
	hook_init(&h, &other, get_in_other_mm);
	h.rig = &rig;
	invalidate(&other, 100, 101);
	hook_exit(&h);
	CHECK_EQ(rig.dev.registered, 1);
	rig_exit(&rig);
	rig_exit(&other);
}

TEST(get_in_own_invalidation)
{
	RIG(rig, .max_entries = 4);
	struct mmu_notifier_range r = pages(rig.mm, 10, 11);
	const struct mrn_regcache_entry *e;

	touch(&rig, 10, 11, RD);
	start(&r);
	CHECK_ERR(try_get(&rig, 10, 11, RD, &e), -EDEADLK);
	CHECK_ERR(try_get(&rig, 9, 12, RD, &e), -EDEADLK);
	CHECK_EQ(stats_of(rig.cache).failures, 2);
	touch(&rig, 20, 21, RD);
	end(&r);
	touch(&rig, 10, 11, RD);
	rig_exit(&rig);
}

/* ---------------------------------------------------------------------------- ops that allocate */

static void *volatile kept;

static void allocate(struct stub_device *dev, const struct mrn_regcache_entry *entry)
{
	void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	CHECK_ERR(munmap(p, 1 << 20), 0);
	for (size_t size = 16; size <= 4 << 20; size *= 4) {
		kept = malloc(size);
		CHECK(kept);
		free(kept);
	}
}

TEST(ops_that_allocate)
{
	RIG(rig, .max_entries = 4);

	rig.dev.on_register.fn = allocate;
	rig.dev.on_deregister.fn = allocate;
	for (unsigned int i = 0; i < 100; i++) {
		touch(&rig, 10 + i % 8, 11 + i % 8, RD);
		invalidate(&rig, 10 + i % 3, 11 + i % 3);
	}
	CHECK_EQ(stats_of(rig.cache).retries, 0);
	rig_exit(&rig);
}
