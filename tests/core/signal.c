/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * P4: signal handlers that start, end, read and remove, over threads that are in the middle of the
 * same. First each place by itself, then everywhere at random.
 *
 * The notifiers here take no lock in their callbacks: a handler that finds its own thread holding
 * the driver lock would be the consumer's problem.
 */
#include "tests/core/fixture.h"

struct plain {
	struct mmu_range_notifier mrn;
	unsigned int calls;
};

static bool plain_invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			     uint64_t cur_seq)
{
	struct plain *p = container_of(mrn, struct plain, mrn);

	(void)range;
	mmu_range_notifier_update_seq(mrn, cur_seq);
	ADD(&p->calls, 1);
	return true;
}

static const struct mmu_range_notifier_ops plain_ops = {.invalidate = plain_invalidate};

static void plain_insert(struct plain *p, struct mrn_mm *mm, unsigned int from, unsigned int to)
{
	memset(p, 0, sizeof(*p));
	p->mrn.ops = &plain_ops;
	CHECK_ERR(mmu_range_notifier_insert(&p->mrn, PAGE(from), PAGE(to) - PAGE(from), mm), 0);
}

static struct mrn_mm *mm;
static struct plain watched;
static unsigned int handled, own, timed_out, began;

/* All that a handler may do. */
static void handler(int sig)
{
	struct mmu_notifier_range r = pages(mm, 4, 5), inner = pages(mm, 5, 6);
	struct timespec soon = from_now(2);
	int saved = errno, e;
	uint64_t seq;

	(void)sig;
	/* Another thread may be waiting for ours to go on: a deadline, as in any handler. */
	e = mrn_range_read_begin_until(&watched.mrn, &soon, &seq);
	CHECK(e == 0 || e == -EDEADLK || e == -ETIMEDOUT);
	ADD(e == 0 ? &began : e == -EDEADLK ? &own : &timed_out, 1);
	start(&r);
	CHECK(mrn_tokens_overlap(mm, PAGE(4), PAGE(5)));
	if (mmu_notifier_invalidate_range_start_nonblock(&inner) == 0)
		end(&inner);
	end(&r);
	CHECK(mrn_mm_self() != NULL);
	ADD(&handled, 1);
	errno = saved;
}

static void catch_signal(void)
{
	/* Itself not blocked: handlers nest. */
	struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_NODEFER | SA_RESTART};

	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
}

/* ------------------------------------------------------------------------------- place by place */

static bool raise_inside(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			 uint64_t cur_seq)
{
	static unsigned int depth;

	mmu_range_notifier_update_seq(mrn, cur_seq);
	(void)range;
	/* Atomics: the compiler takes raise for a call that comes back to nothing of ours. */
	if (ADD(&depth, 1) <= 3)
		raise(SIGUSR1);
	ADD(&depth, -1);
	return true;
}

static void raise_before_wait(uint64_t token_seq)
{
	(void)token_seq;
	raise(SIGUSR1);
}

static struct mmu_notifier_range held;
static struct test_gate held_started, held_stop;

static void *hold(void *arg)
{
	(void)arg;
	start(&held);
	test_gate_open(&held_started);
	test_gate_wait(&held_stop);
	end(&held);
	return NULL;
}

static void *read_until_interrupted(void *arg)
{
	STORE((int *)arg, my_tid());
	CHECK(mmu_range_read_begin(&watched.mrn) != 0);
	return NULL;
}

static void handlers_by_place(unsigned int slots)
{
	static const struct mmu_range_notifier_ops raising_ops = {.invalidate = raise_inside};
	struct mmu_range_notifier raising = {.ops = &raising_ops};
	int tid = 0;
	pthread_t holder, reader;
	unsigned int before;

	SKIP_HANDLERS_ANY_TIME();
	mrn_check_slots = slots;
	mm = new_mm();
	catch_signal();
	plain_insert(&watched, mm, 4, 6);

	/* Inside a callback, nested. */
	CHECK_ERR(mmu_range_notifier_insert(&raising, PAGE(4), PAGE(1), mm), 0);
	STORE(&handled, 0);
	STORE(&own, 0);
	start_and_end(mm, 4, 5);
	CHECK_EQ(LOAD(&handled), 3);
	CHECK(LOAD(&own) > 0);
	CHECK_ERR(mmu_range_notifier_remove(&raising), 0);
	check_idle(mm);

	/* Between start and end. */
	held = pages(mm, 4, 5);
	start(&held);
	STORE(&own, 0);
	raise(SIGUSR1);
	CHECK_EQ(LOAD(&own), 1);
	end(&held);
	check_idle(mm);

	/* About to wait in read_begin, and asleep in it: the wait goes on afterwards. */
	held = pages(mm, 5, 6);
	memset(&held_started, 0, sizeof(held_started));
	memset(&held_stop, 0, sizeof(held_stop));
	holder = go(hold, NULL);
	test_gate_wait(&held_started);
	mrn_check_wait_hook = slots > 1 ? raise_before_wait : NULL;
	if (slots > 1) {
		uint64_t seq;
		struct timespec soon = from_now(20);
		struct sigaction ignore = {.sa_handler = SIG_IGN};

		/* The handler's own wait would come here again. */
		CHECK_EQ(sigaction(SIGUSR1, &ignore, NULL), 0);
		CHECK_ERR(mrn_range_read_begin_until(&watched.mrn, &soon, &seq), -ETIMEDOUT);
		catch_signal();
		mrn_check_wait_hook = NULL;
	}
	reader = go(read_until_interrupted, &tid);
	for (int i = 0; i < 5; i++) {
		await_sleep(&tid);
		before = LOAD(&handled);
		CHECK_EQ(pthread_kill(reader, SIGUSR1), 0);
		while (LOAD(&handled) == before)
			sched_yield();
	}
	test_gate_open(&held_stop);
	done(holder);
	done(reader);
	CHECK_ERR(mmu_range_notifier_remove(&watched.mrn), 0);
	destroy_idle(mm);
}

TEST(signal_handlers_by_place)
{
	handlers_by_place(MRN_TOKEN_SLOTS);
	handlers_by_place(1);
}

/* -------------------------------------------------------------------------------------- storms */

enum { VICTIMS = 2 };

/* Where a victim is: what the handlers have hit is told at the end. */
enum place {
	OUTSIDE,
	STARTING,
	CHANGING,
	ENDING,
	INSERTING,
	READING,
	REMOVING,
	REGISTERING,
	PLACES
};
static const char *const place_name[PLACES] = {"outside", "start",   "between", "end",
					       "insert",  "reading", "remove",	"register"};
static __thread enum place place;
static __thread unsigned int me;
/* Per victim: handlers that have begun, and how deep they are in each other. */
static unsigned int entered[VICTIMS], depth[VICTIMS];
static unsigned int hits[PLACES];
static bool over;

static void storm_handler(int sig)
{
	ADD(&entered[me], 1);
	ADD(&depth[me], 1);
	ADD(&hits[place], 1);
	handler(sig);
	ADD(&depth[me], -1);
}

static void *victim(void *arg)
{
	static const struct mmu_notifier_ops no_ops;
	struct test_rand rand = rand_stream((uintptr_t)arg);
	unsigned int turns = 0;
	struct plain p[4];
	bool in[4] = {false};

	me = (unsigned int)(uintptr_t)arg;
	for (; !LOAD(&over); turns++) {
		unsigned int k = below(&rand, 4), from = 1 + below(&rand, 6);
		struct mmu_notifier_range r = pages(mm, from, from + 1 + below(&rand, 4));
		uint64_t seq;

		place = STARTING;
		start(&r);
		place = CHANGING;
		if (!in[k]) {
			/* Inserting inside an own invalidation is allowed. */
			place = INSERTING;
			plain_insert(&p[k], mm, 3 + k, 5 + k);
			in[k] = true;
			k = (k + 1) % 4;
		}
		place = ENDING;
		end(&r);
		place = READING;
		/* The other victim may sit in a handler that waits for this thread. */
		if (in[k]) {
			struct timespec soon = from_now(1);

			mrn_range_read_begin_until(&p[k].mrn, &soon, &seq);
			place = REMOVING;
			CHECK_ERR(mmu_range_notifier_remove(&p[k].mrn), 0);
			memset(&p[k], 0xa5, sizeof(p[k]));
			in[k] = false;
		}
		if (turns % 16 == 0) {
			struct mmu_notifier mn = {.ops = &no_ops};
			int e;

			place = REGISTERING;
			e = mmu_notifier_register(&mn, mm);
			CHECK_ERR(e, 0);
			CHECK_ERR(mmu_notifier_unregister(&mn, mm), 0);
		}
		place = OUTSIDE;
	}
	for (int k = 0; k < 4; k++)
		if (in[k])
			CHECK_ERR(mmu_range_notifier_remove(&p[k].mrn), 0);
	return NULL;
}

/* So many signals, or what the kernel delivers in so many seconds. */
static void signal_storm(unsigned int slots, unsigned int signals, unsigned int seconds)
{
	uint64_t end_ns = test_now_ns() + seconds * UINT64_C(1000000000);
	struct sigaction sa = {.sa_handler = storm_handler, .sa_flags = SA_NODEFER | SA_RESTART};
	struct test_rand rand = rand_stream(100);
	pthread_t t[VICTIMS];

	SKIP_HANDLERS_ANY_TIME();
	mrn_check_slots = slots;
	mm = new_mm();
	over = false;
	handled = own = timed_out = began = 0;
	memset(hits, 0, sizeof(hits));
	memset(depth, 0, sizeof(depth));
	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	plain_insert(&watched, mm, 4, 6);
	for (uintptr_t i = 0; i < VICTIMS; i++)
		t[i] = go(victim, (void *)i);
	for (unsigned int i = 0; i < signals && test_now_ns() < end_ns; i++) {
		unsigned int v = i % VICTIMS, deepest = below(&rand, 4), before = LOAD(&entered[v]);

		CHECK_EQ(pthread_kill(t[v], SIGUSR1), 0);
		/*
		 * Paced, no more: a virtual machine's kernel may leave a signal pending over many
		 * system calls of a thread that changes its mask all the time.
		 */
		for (int k = 0; k < 1000 && LOAD(&entered[v]) == before; k++)
			sched_yield();
		/* Not faster than they are done: their frames would fill the stack. */
		while (LOAD(&depth[v]) > deepest)
			sched_yield();
	}
	STORE(&over, true);
	for (int i = 0; i < VICTIMS; i++)
		done(t[i]);
	CHECK_ERR(mmu_range_notifier_remove(&watched.mrn), 0);
	CHECK(handled > 0);
	NOTE("%u slots: %u signals taken: %u reads began, %u met their own, %u timed out", slots,
	     handled, began, own, timed_out);
	for (int i = 0; i < PLACES; i++)
		NOTE("%u in %s", hits[i], place_name[i]);
	destroy_idle(mm);
}

TEST(signal_storm_with_slots)
{
	signal_storm(MRN_TOKEN_SLOTS, ROUNDS(8000), 5);
}

TEST(signal_storm_in_the_overflow_list)
{
	signal_storm(1, ROUNDS(8000), 5);
}

TEST(signal_storm_for_long, .slow = true, .timeout_s = 300)
{
	signal_storm(MRN_TOKEN_SLOTS, ROUNDS(200000), 30);
	signal_storm(2, ROUNDS(200000), 30);
}
