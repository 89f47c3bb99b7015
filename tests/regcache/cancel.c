/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread that is cancelled in the cache finishes there first, whatever it waits for and whatever the device's
 * functions do; the request acts at its next cancellation point.
 */
#include "tests/regcache/fixture.h"

enum { ENTERED = 1, RETURNED };

struct victim {
	struct rig *rig;
	int (*fn)(struct victim *v);
	const struct mrn_regcache_entry *entry;
	int at, result;
};

static void *begin(void *arg)
{
	struct victim *v = arg;

	/* Deferred: it acts at the first cancellation point from here. */
	CHECK_EQ(pthread_cancel(pthread_self()), 0);
	v->at = ENTERED;
	v->result = v->fn(v);
	v->at = RETURNED;
	pthread_testcancel();
	CHECK_MSG(false, "the request was lost");
	return NULL;
}

/* It returned, in spite of the request; and was cancelled afterwards. */
static void end_victim(struct victim *v, pthread_t thread)
{
	void *result;

	CHECK_EQ(pthread_join(thread, &result), 0);
	CHECK(result == PTHREAD_CANCELED);
	CHECK_EQ(v->at, RETURNED);
	CHECK_ERR(v->result, 0);
}

static void run(struct victim *v, int (*fn)(struct victim *v))
{
	pthread_t thread;

	v->fn = fn;
	CHECK_EQ(pthread_create(&thread, NULL, begin, v), 0);
	end_victim(v, thread);
}

/* What a real device does when it writes to its file. */
static void cancellation_point(struct stub_device *dev, const struct mrn_regcache_entry *entry)
{
	(void)dev, (void)entry;
	pthread_testcancel();
}

static int get_10(struct victim *v)
{
	return try_get(v->rig, 10, 11, RD, &v->entry);
}

static int get_20(struct victim *v)
{
	return try_get(v->rig, 20, 21, RD, &v->entry);
}

static int put_it(struct victim *v)
{
	return mrn_regcache_put(v->entry);
}

static int reap(struct victim *v)
{
	return mrn_regcache_reap(v->rig->cache);
}

static int flush(struct victim *v)
{
	return mrn_regcache_flush(v->rig->cache);
}

static int destroy(struct victim *v)
{
	return mrn_regcache_destroy(v->rig->cache);
}

TEST(cancelled_in_register_range)
{
	RIG(rig, .max_entries = 2);
	struct victim v = {.rig = &rig};

	rig.dev.on_register.fn = cancellation_point;
	run(&v, get_10);
	/* What it got is its caller's, as ever. */
	CHECK_EQ(stats_of(rig.cache).entries_in_use, 1);
	CHECK_ERR(mrn_regcache_put(v.entry), 0);
	rig_exit(&rig);
}

static void collide_once(struct stub_device *dev, const struct mrn_regcache_entry *entry)
{
	struct rig *rig = dev->arg;

	(void)entry;
	if (rig) {
		dev->arg = NULL;
		invalidate(rig, 10, 11);
	}
}

TEST(cancelled_in_deregister_range)
{
	RIG(rig, .max_entries = 1);
	struct victim v = {.rig = &rig};

	rig.dev.on_deregister.fn = cancellation_point;
	/* By a get that evicts, */
	touch(&rig, 10, 11, RD);
	run(&v, get_20);
	/* by the last put of what has been invalidated, */
	invalidate(&rig, 20, 21);
	run(&v, put_it);
	/* by a get that collides, */
	rig.dev.on_register.fn = collide_once;
	rig.dev.arg = &rig;
	run(&v, get_10);
	CHECK_ERR(mrn_regcache_put(v.entry), 0);
	CHECK_EQ(stats_of(rig.cache).retries, 1);
	/* by reap and flush, */
	invalidate(&rig, 10, 11);
	run(&v, reap);
	touch(&rig, 10, 11, RD);
	run(&v, flush);
	CHECK_EQ(rig.dev.live, 0);
	check_stats(rig.cache, &rig.dev);
	/* and by destroy. */
	touch(&rig, 10, 11, RD);
	run(&v, destroy);
	CHECK_ERR(mrn_mm_destroy(rig.mm), 0);
	stub_exit(&rig.dev);
}

static void flush_it(void *arg)
{
	CHECK_ERR(mrn_regcache_flush(arg), 0);
}

/* One thread deregisters what the victim waits for. */
static void cancelled_waiting(int (*fn)(struct victim *v), struct rig *rig)
{
	struct test_gate entered = TEST_GATE_INIT, leave = TEST_GATE_INIT, never = TEST_GATE_INIT;
	struct victim v = {.rig = rig, .fn = fn};
	struct test_thread t;
	pthread_t thread;

	touch(rig, 10, 11, RD);
	rig->dev.on_deregister = (struct stub_stop){&entered, &leave, NULL};
	test_thread(&t, flush_it, rig->cache);
	test_gate_wait(&entered);
	CHECK_EQ(pthread_create(&thread, NULL, begin, &v), 0);
	/* Until it waits; should it come too late, the test tests less, but nothing fails. */
	test_gate_wait_ms(&never, 50);
	test_gate_open(&leave);
	end_victim(&v, thread);
	test_join(&t);
	rig->dev.on_deregister = (struct stub_stop){0};
	if (v.entry)
		CHECK_ERR(mrn_regcache_put(v.entry), 0);
}

TEST(cancelled_waiting_for_room)
{
	RIG(rig, .max_entries = 1);

	cancelled_waiting(get_20, &rig);
	CHECK_EQ(touch(&rig, 30, 31, RD), 3);
	rig_exit(&rig);
}

TEST(cancelled_waiting_in_destroy)
{
	RIG(rig, .max_entries = 1);

	cancelled_waiting(destroy, &rig);
	CHECK_ERR(mrn_mm_destroy(rig.mm), 0);
	stub_exit(&rig.dev);
}
