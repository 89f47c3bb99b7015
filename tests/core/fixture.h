/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the core share: mms, ranges, a consumer that keeps to the protocol, and ways to
 * see what another thread is doing without guessing from the time.
 *
 * Addresses are numbers here: the core never touches what they name, so pages count from PAGE(1).
 */
#ifndef TESTS_CORE_FIXTURE_H
#define TESTS_CORE_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <mrn/mmu_notifier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/mm.h"
#include "lifetime/queue.h"
#include "os/callback.h"
#include "os/container_of.h"
#include "os/pages.h"
#include "tests/fixture.h"
#include "tests/harness/asleep.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"

/* Fewer rounds where every access costs tens of times as much. */
#define ROUNDS(n) (TEST_TSAN ? (n) / 8 + 1 : TEST_ASAN ? (n) / 2 + 1 : (n))

#define LOAD(p)	    __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define STORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define ADD(p, v)   __atomic_add_fetch(p, v, __ATOMIC_ACQ_REL)

/*
 * TSan keeps a signal back until its thread next enters the runtime, and then calls the handler
 * whatever the mask that a raw system call has set: in the middle of a write section.
 */
#define SKIP_HANDLERS_ANY_TIME()                                                                   \
	do {                                                                                       \
		if (TEST_TSAN)                                                                     \
			SKIP("ThreadSanitizer delays signals past masks set by raw system calls"); \
	} while (0)

/*
 * -------------------------------------------------------------------------------- mms and ranges
 */

HELPER struct mrn_mm *new_mm(void)
{
	struct mrn_mm *mm = NULL;

	CHECK_EQ(mrn_mm_create(&mm), 0);
	return mm;
}

HELPER void start_and_end(struct mrn_mm *mm, unsigned int from, unsigned int to)
{
	struct mmu_notifier_range r = pages(mm, from, to);

	start(&r);
	end(&r);
}

/* Nothing is in progress, nothing held, nothing pinned, nothing left to be freed. */
HELPER void check_idle(struct mrn_mm *mm)
{
	CHECK_EQ(LOAD(&mm->state), MRN_MM_IDLE);
	CHECK(!mrn_tokens_overlap(mm, 0, UINTPTR_MAX));
	CHECK_EQ(LOAD(&mm->lock.word), 0);
	CHECK_EQ(LOAD(&mm->more_lock.word), 0);
	/* The reaper may be just letting go of it. */
	while (LOAD(&mm->home.drain_lock.word))
		sched_yield();
	CHECK(!LOAD(&mrn_queue->top));
	CHECK(!mm->more);
	CHECK(mrn_index_is_valid(&mm->index));
	CHECK_EQ(mrn_callback_depth, 0);
	CHECK_EQ(mrn_check_event_path, 0);
}

/* The same, with nothing inserted or registered, and the mm then goes away. */
HELPER void destroy_idle(struct mrn_mm *mm)
{
	check_idle(mm);
	CHECK(!mm->index.root);
	CHECK(!mm->list);
	/* The reaper may be just letting go of it. */
	while (LOAD(&mm->home.refs) != 1)
		sched_yield();
	CHECK_EQ(mrn_mm_destroy(mm), 0);
}

/* ------------------------------------------------------------------------------- other threads */

HELPER pthread_t go(void *(*fn)(void *), void *arg)
{
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, fn, arg), 0);
	return t;
}

HELPER void done(pthread_t t)
{
	CHECK_EQ(pthread_join(t, NULL), 0);
}

HELPER int my_tid(void)
{
	return (int)mrn_sys0(SYS_gettid);
}

HELPER struct timespec from_now(long ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

/* How many nanoseconds ago that was. */
HELPER int64_t ns_since(const struct timespec *t)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - t->tv_sec) * INT64_C(1000000000) + now.tv_nsec - t->tv_nsec;
}

/* One generator per thread; the stream tells them apart. */
HELPER struct test_rand rand_stream(uint64_t stream)
{
	struct test_rand r;

	test_rand_init(&r, stream);
	return r;
}

HELPER unsigned int below(struct test_rand *r, uint64_t limit)
{
	return (unsigned int)test_rand_below(r, limit);
}

/* ------------------------------------------------------------------------------- the consumer */

/*
 * One notifier, its driver lock and one shadow. Zeroed memory but for the lock; see consumer_init.
 */
struct consumer {
	struct mmu_range_notifier mrn;
	pthread_mutex_t lock;
	bool shadow;	     /* under lock */
	unsigned int calls;  /* callbacks that have ended */
	unsigned int inside; /* callbacks that run */
	bool refuse;	     /* when it may not wait */
	/* When set: the callback opens entered, and goes on when leave is open. */
	struct test_gate *entered, *leave;
	/* When set: called in the callback, before the lock is taken. */
	void (*hook)(struct consumer *c, const struct mmu_notifier_range *range);
	void *arg;
	/* What the last callback was told. */
	struct mmu_notifier_range last;
	uint64_t last_seq;
};

HELPER struct consumer *consumer_of(struct mmu_range_notifier *mrn)
{
	return container_of(mrn, struct consumer, mrn);
}

HELPER bool consumer_invalidate(struct mmu_range_notifier *mrn,
				const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	struct consumer *c = consumer_of(mrn);
	struct test_gate *leave = c->leave;

	if (c->refuse && !mmu_notifier_range_blockable(range)) {
		if (c->hook)
			c->hook(c, range);
		return false;
	}
	ADD(&c->inside, 1);
	if (c->entered)
		test_gate_open(c->entered);
	if (leave)
		test_gate_wait(leave);
	if (c->hook)
		c->hook(c, range);
	pthread_mutex_lock(&c->lock);
	mmu_range_notifier_update_seq(mrn, cur_seq);
	c->shadow = false;
	/* Field by field: what lies behind is mrn's, and other threads may be writing it. */
	c->last.mm = range->mm;
	c->last.start = range->start;
	c->last.end = range->end;
	c->last.flags = range->flags;
	c->last.event = range->event;
	c->last.cause = range->cause;
	c->last.owner = range->owner;
	c->last_seq = cur_seq;
	pthread_mutex_unlock(&c->lock);
	ADD(&c->calls, 1);
	ADD(&c->inside, -1);
	return true;
}

HELPER void consumer_init(struct consumer *c)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = consumer_invalidate};

	memset(c, 0, sizeof(*c));
	pthread_mutex_init(&c->lock, NULL);
	c->mrn.ops = &ops;
	c->mrn.driver_lock = &c->lock;
}

/* Inserted over pages [from, to) of mm. */
HELPER void consumer_insert(struct consumer *c, struct mrn_mm *mm, unsigned int from,
			    unsigned int to)
{
	CHECK_EQ(mmu_range_notifier_insert(&c->mrn, PAGE(from), PAGE(to) - PAGE(from), mm), 0);
}

HELPER void consumer_remove(struct consumer *c)
{
	CHECK_EQ(mmu_range_notifier_remove(&c->mrn), 0);
}

/* The last part of the protocol: publishes unless seq has collided. */
HELPER bool consumer_publish(struct consumer *c, uint64_t seq)
{
	bool good;

	pthread_mutex_lock(&c->lock);
	good = !mmu_range_read_retry(&c->mrn, seq);
	if (good)
		c->shadow = true;
	pthread_mutex_unlock(&c->lock);
	return good;
}

HELPER bool consumer_has_shadow(struct consumer *c)
{
	bool has;

	pthread_mutex_lock(&c->lock);
	has = c->shadow;
	pthread_mutex_unlock(&c->lock);
	return has;
}

/* Would this seq pass now? Publishes nothing. */
HELPER bool consumer_would_pass(struct consumer *c, uint64_t seq)
{
	bool good;

	pthread_mutex_lock(&c->lock);
	good = !mmu_range_read_retry(&c->mrn, seq);
	pthread_mutex_unlock(&c->lock);
	return good;
}

/* Nothing overlaps: a read begins at once, succeeds and publishes. */
HELPER void consumer_check_works(struct consumer *c)
{
	uint64_t seq = mmu_range_read_begin(&c->mrn);

	CHECK(seq != 0);
	CHECK(!mmu_range_check_retry(&c->mrn, seq));
	CHECK(consumer_publish(c, seq));
}

/* ----------------------------------------------------------------------------------- the hook */

/* What read_begin waited for, noted by the library's hook just before each wait. */
struct waits {
	unsigned int count;
	uint64_t seq[8];	/* the first ones */
	struct test_gate first; /* open from the first wait on */
};
static struct waits waits __attribute__((unused));

HELPER void note_wait(uint64_t token_seq)
{
	unsigned int n = __atomic_fetch_add(&waits.count, 1, __ATOMIC_ACQ_REL);

	if (n < sizeof(waits.seq) / sizeof(waits.seq[0]))
		STORE(&waits.seq[n], token_seq);
	test_gate_open(&waits.first);
}

/* From here on; before the threads that it concerns start. */
HELPER void watch_waits(void)
{
	memset(&waits, 0, sizeof(waits));
	mrn_check_wait_hook = note_wait;
}

/* A thread that begins one read of c's range. */
struct reader {
	struct consumer *c;
	const struct timespec *deadline;
	bool until; /* by mrn_range_read_begin_until */
	/* In: what must be set when the read has begun, or NULL. */
	const bool *ended;
	/* Out. */
	int result, tid;
	uint64_t seq;
	bool begun, passed;
	pthread_t thread;
};

HELPER void *reader_run(void *arg)
{
	struct reader *r = arg;

	STORE(&r->tid, my_tid());
	if (r->until)
		r->result = mrn_range_read_begin_until(&r->c->mrn, r->deadline, &r->seq);
	else
		r->seq = mmu_range_read_begin(&r->c->mrn);
	if (r->ended)
		CHECK(LOAD(r->ended));
	STORE(&r->begun, true);
	r->passed = consumer_publish(r->c, r->seq);
	return NULL;
}

HELPER void reader_go(struct reader *r)
{
	r->thread = go(reader_run, r);
}

HELPER void reader_done(struct reader *r)
{
	done(r->thread);
}

#endif
