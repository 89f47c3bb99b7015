/* SPDX-License-Identifier: BSD-3-Clause */
/* A5: removing a notifier, and waiting for the callbacks into it that run. */
#include "tests/core/fixture.h"

static void *start_and_end_4_8(void *mm)
{
	start_and_end(mm, 4, 8);
	return NULL;
}

/* A thread that removes, and then looks whether the callback had been let go. */
struct remover {
	struct consumer *c;
	const bool *left;
	int tid;
};

static void *remove_it(void *arg)
{
	struct remover *r = arg;

	STORE(&r->tid, my_tid());
	CHECK_EQ(mmu_range_notifier_remove(&r->c->mrn), 0);
	CHECK(LOAD(r->left));
	CHECK_EQ(LOAD(&r->c->inside), 0);
	memset(r->c, 0xa5, sizeof(*r->c));
	return NULL;
}

TEST(a5_remove_waits_for_a_running_callback)
{
	struct mrn_mm *mm = new_mm();
	struct test_gate entered = {0}, leave = {0};
	bool left = false;
	struct consumer c;
	struct remover r = {.c = &c, .left = &left};
	pthread_t starter, remover;

	consumer_init(&c);
	c.entered = &entered;
	c.leave = &leave;
	consumer_insert(&c, mm, 4, 8);
	starter = go(start_and_end_4_8, mm);
	test_gate_wait(&entered);
	remover = go(remove_it, &r);
	await_sleep(&r.tid);
	/* On its way out already: no callback begins any more. */
	start_and_end(mm, 5, 6);
	CHECK_EQ(LOAD(&c.inside), 1);
	CHECK_EQ(mmu_range_notifier_remove(&c.mrn), -ENOENT);
	STORE(&left, true);
	test_gate_open(&leave);
	done(remover);
	done(starter);
	destroy_idle(mm);
}
TWIN(a5_remove_waits_for_a_running_callback, no_wait, BREAK(A5_REMOVE_WAIT));

/* Several threads are in the callback: remove waits for the last. */
TEST(a5_remove_waits_for_all_running_callbacks)
{
	enum { N = 4 };
	struct mrn_mm *mm = new_mm();
	struct test_gate leave = {0};
	bool left = false;
	struct consumer c;
	struct remover r = {.c = &c, .left = &left};
	pthread_t starter[N], remover;

	consumer_init(&c);
	c.leave = &leave;
	consumer_insert(&c, mm, 4, 8);
	for (int i = 0; i < N; i++)
		starter[i] = go(start_and_end_4_8, mm);
	while (LOAD(&c.inside) != N)
		sched_yield();
	remover = go(remove_it, &r);
	await_sleep(&r.tid);
	STORE(&left, true);
	test_gate_open(&leave);
	done(remover);
	for (int i = 0; i < N; i++)
		done(starter[i]);
	destroy_idle(mm);
}

/* ----------------------------------------------------------------------- found, and not yet pinned */

/* A walk that has found the notifier of this consumer is held there, in its section. */
static struct {
	struct consumer *c;
	struct test_gate found, go_on;
} held;

static void hold_walk(const struct mrn_index_entry *e)
{
	if (e != &LOAD(&held.c)->mrn.node)
		return;
	test_gate_open(&held.found);
	test_gate_wait(&held.go_on);
}

static void *remove_and_unmap(void *arg)
{
	struct remover *r = arg;

	STORE(&r->tid, my_tid());
	consumer_remove(r->c);
	CHECK(LOAD(r->left));
	CHECK_EQ(r->c->calls, 0);
	/* Whoever still looks at it crashes. */
	CHECK_EQ(munmap(r->c, mrn_page_up(sizeof(*r->c))), 0);
	return NULL;
}

static void remove_while_a_walk_has_found_it(unsigned int slots)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range elsewhere = pages(mm, 50, 51);
	struct consumer *c =
		mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct consumer other;
	bool left = false;
	struct remover r = {.c = c, .left = &left};
	pthread_t starter, remover;

	mrn_check_slots = slots;
	CHECK(c != MAP_FAILED);
	consumer_init(c);
	consumer_init(&other);
	consumer_insert(c, mm, 4, 8);
	consumer_insert(&other, mm, 5, 8);
	/* With one slot: the walk is one of those that hold a lock instead. */
	start(&elsewhere);
	STORE(&held.c, c);
	mrn_check_walk_hook = hold_walk;
	starter = go(start_and_end_4_8, mm);
	test_gate_wait(&held.found);
	remover = go(remove_and_unmap, &r);
	await_sleep(&r.tid);
	STORE(&left, true);
	test_gate_open(&held.go_on);
	done(remover);
	done(starter);
	mrn_check_walk_hook = NULL;
	CHECK_EQ(other.calls, 1);
	end(&elsewhere);
	consumer_remove(&other);
	destroy_idle(mm);
}

TEST(a5_remove_waits_for_a_walk_that_has_found_it)
{
	remove_while_a_walk_has_found_it(MRN_TOKEN_SLOTS);
}
TWIN(a5_remove_waits_for_a_walk_that_has_found_it, no_grace, BREAK(A5_GRACE));

TEST(a5_remove_waits_for_a_walk_without_a_slot)
{
	remove_while_a_walk_has_found_it(1);
}
TWIN(a5_remove_waits_for_a_walk_without_a_slot, no_grace, BREAK(A5_GRACE));

static void *start_and_end_all(void *mm)
{
	start_and_end(mm, 1, 100000);
	return NULL;
}

static void hold_at_leaf(void)
{
	/* The first time only. */
	mrn_check_leaf_hook = NULL;
	test_gate_open(&held.found);
	test_gate_wait(&held.go_on);
}

/*
 * A walk is about to look into the first leaf. Those that are inserted meanwhile, each between two that are there
 * and then behind them, take its place and need new leaves all the time: it is not used for those, and the walk
 * finds everyone whom it should.
 */
TEST(a5_nodes_stay_while_a_walk_is_among_them)
{
	enum { N = 2000, STAY = 100 };
	struct mrn_mm *mm = new_mm();
	struct consumer *c = calloc(N, sizeof(*c));
	pthread_t starter;

	CHECK(c != NULL);
	for (unsigned int k = 0; k < N; k++)
		consumer_init(&c[k]);
	for (unsigned int k = 0; k < STAY; k++)
		consumer_insert(&c[k], mm, 2 + 2 * k, 3 + 2 * k);
	mrn_check_leaf_hook = hold_at_leaf;
	starter = go(start_and_end_all, mm);
	test_gate_wait(&held.found);
	/* To remove one would be to wait for the walk. */
	for (unsigned int k = STAY; k < N; k++)
		consumer_insert(&c[k], mm, 3 + 2 * (k - STAY), 4 + 2 * (k - STAY));
	test_gate_open(&held.go_on);
	done(starter);
	for (unsigned int k = 0; k < N; k++) {
		CHECK_EQ(c[k].calls, k < STAY);
		consumer_remove(&c[k]);
	}
	destroy_idle(mm);
	free(c);
}
TWIN(a5_nodes_stay_while_a_walk_is_among_them, no_grace, BREAK(A5_GRACE));

/*
 * ------------------------------------------------------------------------- from inside callbacks
 */

static int remove_result, register_result, unregister_result, insert_result, destroy_result,
	synchronize_result;
static struct mmu_notifier *some_list_notifier;

static void change_everything(struct consumer *c, const struct mmu_notifier_range *range)
{
	struct consumer *other = c->arg;

	remove_result = mmu_range_notifier_remove(&c->mrn);
	CHECK_ERR(mmu_range_notifier_remove(&other->mrn), -EDEADLK);
	insert_result = mmu_range_notifier_insert(&other->mrn, PAGE(1), PAGE(1), range->mm);
	register_result = mmu_notifier_register(some_list_notifier, range->mm);
	unregister_result = mmu_notifier_unregister(some_list_notifier, range->mm);
	destroy_result = mrn_mm_destroy(range->mm);
	synchronize_result = mmu_notifier_synchronize(range->mm);
}

TEST(a5_what_would_wait_is_refused_inside_a_callback)
{
	static const struct mmu_notifier_ops ops;
	struct mmu_notifier mn = {.ops = &ops};
	struct mrn_mm *mm = new_mm();
	struct consumer c, other;

	consumer_init(&c);
	consumer_init(&other);
	consumer_insert(&c, mm, 4, 8);
	consumer_insert(&other, mm, 40, 48);
	CHECK_ERR(mmu_notifier_register(&mn, mm), 0);
	some_list_notifier = &mn;
	c.hook = change_everything;
	c.arg = &other;
	start_and_end(mm, 4, 8);
	CHECK_ERR(remove_result, -EDEADLK);
	CHECK_ERR(insert_result, -EDEADLK);
	CHECK_ERR(register_result, -EDEADLK);
	CHECK_ERR(unregister_result, -EDEADLK);
	CHECK_ERR(destroy_result, -EDEADLK);
	CHECK_ERR(synchronize_result, -EDEADLK);
	/* Nothing has changed. */
	c.hook = NULL;
	CHECK_EQ(c.calls, 1);
	consumer_check_works(&c);
	consumer_check_works(&other);
	consumer_remove(&c);
	consumer_remove(&other);
	CHECK_ERR(mmu_notifier_unregister(&mn, mm), 0);
	destroy_idle(mm);
}

/* ------------------------------------------------------------------------------- asynchronously */

/* Notifiers on the heap that are freed by their free function, and counted. */
static unsigned int freed;

static void free_consumer(struct mmu_range_notifier *mrn)
{
	struct consumer *c = consumer_of(mrn);

	CHECK_EQ(LOAD(&c->inside), 0);
	CHECK_EQ(mrn_callback_depth, 0);
	ADD(&freed, 1);
	memset(c, 0xa5, sizeof(*c));
	free(c);
}

static struct consumer *heap_consumer(struct mrn_mm *mm, unsigned int from, unsigned int to)
{
	struct consumer *c = malloc(sizeof(*c));

	CHECK(c != NULL);
	consumer_init(c);
	consumer_insert(c, mm, from, to);
	return c;
}

static void *synchronize(void *mm)
{
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	return NULL;
}

static void remove_self(struct consumer *c, const struct mmu_notifier_range *range)
{
	CHECK_ERR(mrn_range_notifier_remove_async(&c->mrn, free_consumer), 0);
	CHECK_ERR(mrn_range_notifier_remove_async(&c->mrn, free_consumer), -ENOENT);
	/* Already no callback begins any more, not even in this thread. */
	start_and_end(range->mm, 4, 8);
	CHECK_EQ(LOAD(&c->inside), 1);
	CHECK_EQ(LOAD(&freed), 0);
}

TEST(a5_async_from_its_own_callback)
{
	struct mrn_mm *mm = new_mm();
	struct consumer *c = heap_consumer(mm, 4, 8);

	c->hook = remove_self;
	start_and_end(mm, 4, 8);
	/* Nobody who may free has come by yet. */
	CHECK_EQ(LOAD(&freed), 0);
	CHECK_EQ(c->calls, 1);
	CHECK_ERR(mmu_range_notifier_remove(&c->mrn), -ENOENT);
	CHECK_ERR(mmu_range_notifier_insert(&c->mrn, PAGE(4), PAGE(1), mm), -EBUSY);
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	CHECK_EQ(LOAD(&freed), 1);
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	CHECK_EQ(LOAD(&freed), 1);
	destroy_idle(mm);
}

static void remove_other(struct consumer *c, const struct mmu_notifier_range *range)
{
	struct consumer *other = c->arg;

	(void)range;
	CHECK_ERR(mrn_range_notifier_remove_async(&other->mrn, free_consumer), 0);
}

/* Another's callback removes it, while its own callback is running in a third thread. */
TEST(a5_async_from_another_callback_frees_after_its_own)
{
	struct mrn_mm *mm = new_mm();
	struct test_gate entered = {0}, leave = {0};
	struct consumer *victim = heap_consumer(mm, 4, 5), c, passer_by;
	pthread_t starter, waiter;

	victim->entered = &entered;
	victim->leave = &leave;
	consumer_init(&c);
	consumer_init(&passer_by);
	consumer_insert(&c, mm, 10, 11);
	consumer_insert(&passer_by, mm, 20, 21);
	c.hook = remove_other;
	c.arg = victim;
	starter = go(start_and_end_4_8, mm);
	test_gate_wait(&entered);
	start_and_end(mm, 10, 11);
	/* Who removes something else frees what it can, and waits for nothing (P2). */
	consumer_remove(&passer_by);
	CHECK_EQ(LOAD(&freed), 0);
	waiter = go(synchronize, mm);
	/* Nobody but this test holds the callback; free_consumer checks that it has ended. */
	CHECK_EQ(LOAD(&victim->inside), 1);
	test_gate_open(&leave);
	done(waiter);
	CHECK_EQ(LOAD(&freed), 1);
	done(starter);
	consumer_remove(&c);
	CHECK_EQ(LOAD(&freed), 1);
	destroy_idle(mm);
}

static void await_freed(unsigned int n)
{
	while (LOAD(&freed) < n)
		sched_yield();
	CHECK_EQ(LOAD(&freed), n);
}

/* By the reaper, which a later remove starts; not by that remove. */
TEST(a5_async_is_freed_after_a_later_remove)
{
	struct mrn_mm *mm = new_mm();
	struct consumer c;

	consumer_init(&c);
	consumer_insert(&c, mm, 1, 2);
	for (unsigned int i = 0; i < 3; i++)
		CHECK_ERR(mrn_range_notifier_remove_async(&heap_consumer(mm, 4, 8)->mrn,
							  free_consumer),
			  0);
	CHECK_EQ(LOAD(&freed), 0);
	consumer_remove(&c);
	await_freed(3);
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	destroy_idle(mm);
}

TEST(a5_async_is_freed_by_unregister_and_by_the_end)
{
	static const struct mmu_notifier_ops ops;
	struct mmu_notifier mn = {.ops = &ops};
	struct mrn_mm *mm = new_mm();

	CHECK_ERR(mmu_notifier_register(&mn, mm), 0);
	CHECK_ERR(mrn_range_notifier_remove_async(&heap_consumer(mm, 4, 8)->mrn, free_consumer), 0);
	CHECK_ERR(mmu_notifier_unregister(&mn, mm), 0);
	await_freed(1);
	CHECK_ERR(mrn_range_notifier_remove_async(&heap_consumer(mm, 4, 8)->mrn, free_consumer), 0);
	CHECK_ERR(mrn_mm_destroy(mm), 0);
	CHECK_EQ(LOAD(&freed), 2);
}

/* The memory is its owner's again in the free function: it may be inserted anew there and then. */
static struct mrn_mm *again_mm;

static void insert_again(struct mmu_range_notifier *mrn)
{
	freed++;
	CHECK_ERR(mmu_notifier_synchronize(again_mm), -EDEADLK);
	CHECK_ERR(mrn_mm_destroy(again_mm), -EDEADLK);
	CHECK_ERR(mmu_range_notifier_insert(mrn, PAGE(4), PAGE(1), again_mm), 0);
}

TEST(a5_free_function_may_insert_and_may_not_synchronize)
{
	struct consumer c;

	again_mm = new_mm();
	consumer_init(&c);
	consumer_insert(&c, again_mm, 4, 8);
	for (unsigned int i = 1; i <= 3; i++) {
		CHECK_ERR(mrn_range_notifier_remove_async(&c.mrn, insert_again), 0);
		CHECK_ERR(mmu_notifier_synchronize(again_mm), 0);
		CHECK_EQ(LOAD(&freed), i);
		start_and_end(again_mm, 4, 5);
		CHECK_EQ(c.calls, i);
		consumer_check_works(&c);
	}
	consumer_remove(&c);
	destroy_idle(again_mm);
}

static struct consumer *handler_removes;

static void remove_in_handler(int sig)
{
	(void)sig;
	CHECK_ERR(mrn_range_notifier_remove_async(&handler_removes->mrn, free_consumer), 0);
}

static void raise_in_callback(struct consumer *c, const struct mmu_notifier_range *range)
{
	(void)c;
	(void)range;
	raise(SIGUSR1);
}

TEST(a5_async_from_a_signal_handler)
{
	struct sigaction sa = {.sa_handler = remove_in_handler};
	struct mrn_mm *mm = new_mm();
	struct consumer *c;

	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	handler_removes = heap_consumer(mm, 4, 8);
	raise(SIGUSR1);
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	CHECK_EQ(LOAD(&freed), 1);
	/* And inside its own callback. */
	handler_removes = c = heap_consumer(mm, 4, 8);
	c->hook = raise_in_callback;
	start_and_end(mm, 4, 8);
	CHECK_EQ(LOAD(&freed), 1);
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	CHECK_EQ(LOAD(&freed), 2);
	destroy_idle(mm);
}

/* Callbacks in many threads, all of which want it gone: one of them is the first. */
static unsigned int first, late;

static void race_to_remove(struct consumer *c, const struct mmu_notifier_range *range)
{
	int r;

	(void)range;
	/* Lets the others in, sometimes. */
	for (int i = 0; i < 3 && LOAD(&c->inside) < 2; i++)
		sched_yield();
	r = mrn_range_notifier_remove_async(&c->mrn, free_consumer);
	CHECK(r == 0 || r == -ENOENT);
	ADD(r ? &late : &first, 1);
}

static struct {
	struct mrn_mm *mm;
	struct test_barrier round;
	struct consumer *c;
	unsigned int removed;
	int rounds;
} many;

static void *start_each_round(void *arg)
{
	bool removes = arg;

	for (int i = 0; i < many.rounds; i++) {
		test_barrier_wait(&many.round);
		/* c may be removed, and so freed, by the time that this thread gets here. */
		start_and_end(many.mm, 4, 8);
		if (removes && i % 2)
			CHECK_ERR(mmu_notifier_synchronize(many.mm), 0);
		test_barrier_wait(&many.round);
	}
	return NULL;
}

TEST(a5_async_races_async)
{
	enum { THREADS = 3 };
	pthread_t t[THREADS];

	many.mm = new_mm();
	many.rounds = ROUNDS(3000);
	test_barrier_init(&many.round, THREADS + 1);
	for (uintptr_t i = 0; i < THREADS; i++)
		t[i] = go(start_each_round, (void *)i);
	for (int i = 0; i < many.rounds; i++) {
		heap_consumer(many.mm, 4, 8)->hook = race_to_remove;
		test_barrier_wait(&many.round);
		test_barrier_wait(&many.round);
		CHECK_ERR(mmu_notifier_synchronize(many.mm), 0);
		CHECK_EQ(LOAD(&freed), (unsigned int)i + 1);
		CHECK_EQ(LOAD(&first), (unsigned int)i + 1);
	}
	for (int i = 0; i < THREADS; i++)
		done(t[i]);
	NOTE("%u came too late", late);
	destroy_idle(many.mm);
}

/* remove against remove_async in its own callback: one of the two gets it. */
static unsigned int async_first;

static void race_with_remove(struct consumer *c, const struct mmu_notifier_range *range)
{
	(void)range;
	if (mrn_range_notifier_remove_async(&c->mrn, free_consumer) == 0)
		ADD(&async_first, 1);
}

TEST(a5_remove_races_async)
{
	enum { THREADS = 2 };
	unsigned int sync_first = 0;
	pthread_t t[THREADS];

	many.mm = new_mm();
	many.rounds = ROUNDS(3000);
	test_barrier_init(&many.round, THREADS + 1);
	for (uintptr_t i = 0; i < THREADS; i++)
		t[i] = go(start_each_round, NULL);
	for (int i = 0; i < many.rounds; i++) {
		struct consumer *c = heap_consumer(many.mm, 4, 8);

		c->hook = race_with_remove;
		test_barrier_wait(&many.round);
		if (i % 3)
			sched_yield();
		/* Nobody frees it under us: only this thread drains. */
		if (mmu_range_notifier_remove(&c->mrn) == 0) {
			sync_first++;
			CHECK_EQ(LOAD(&c->inside), 0);
			free(c);
		}
		test_barrier_wait(&many.round);
		CHECK_ERR(mmu_notifier_synchronize(many.mm), 0);
		CHECK_EQ(sync_first + LOAD(&async_first), (unsigned int)i + 1);
		CHECK_EQ(LOAD(&freed), LOAD(&async_first));
	}
	for (int i = 0; i < THREADS; i++)
		done(t[i]);
	NOTE("remove was first %u times, remove_async %u", sync_first, async_first);
	destroy_idle(many.mm);
}

/* ------------------------------------------------------ insert and remove of the same notifier in many threads */

/* Each of them does something to the one notifier in one of two mms, whatever state it is in. */
static struct {
	struct mrn_mm *mm[2];
	struct consumer c;
	struct mmu_notifier mn;
	unsigned int inserted, removed, registered, unregistered;
	bool over;
} same;

static void *insert_same(void *arg)
{
	struct test_rand rand = rand_stream((uintptr_t)arg);

	while (!LOAD(&same.over)) {
		int r = mmu_range_notifier_insert(&same.c.mrn, PAGE(4), PAGE(4),
						  same.mm[below(&rand, 2)]);

		CHECK(r == 0 || r == -EBUSY);
		ADD(&same.inserted, !r);
	}
	return NULL;
}

static void *remove_same(void *arg)
{
	(void)arg;
	while (!LOAD(&same.over)) {
		int r = mmu_range_notifier_remove(&same.c.mrn);

		CHECK(r == 0 || r == -ENOENT);
		ADD(&same.removed, !r);
	}
	return NULL;
}

static void *read_same(void *arg)
{
	(void)arg;
	while (!LOAD(&same.over)) {
		struct timespec past = {0};
		uint64_t seq;
		int r = mrn_range_read_begin_until(&same.c.mrn, &past, &seq);

		CHECK(r == 0 || r == -ENOENT || r == -ETIMEDOUT);
		mmu_range_read_begin(&same.c.mrn);
	}
	return NULL;
}

static void *start_same(void *mm)
{
	while (!LOAD(&same.over))
		start_and_end(mm, 4, 8);
	return NULL;
}

static void *register_same(void *arg)
{
	struct test_rand rand = rand_stream((uintptr_t)arg);

	while (!LOAD(&same.over)) {
		int r = mmu_notifier_register(&same.mn, same.mm[below(&rand, 2)]);

		CHECK(r == 0 || r == -EBUSY);
		ADD(&same.registered, !r);
	}
	return NULL;
}

static void *unregister_same(void *arg)
{
	struct test_rand rand = rand_stream((uintptr_t)arg);

	while (!LOAD(&same.over)) {
		int r = mmu_notifier_unregister(&same.mn, same.mm[below(&rand, 2)]);

		CHECK(r == 0 || r == -ENOENT);
		ADD(&same.unregistered, !r);
	}
	return NULL;
}

TEST(a5_insert_remove_and_read_of_the_same_notifier)
{
	static void *(*const fn[])(void *) = {insert_same, insert_same, remove_same,
					      remove_same, read_same,	start_same};
	enum { N = sizeof(fn) / sizeof(fn[0]) };
	pthread_t t[N];

	same.mm[0] = new_mm();
	same.mm[1] = new_mm();
	consumer_init(&same.c);
	/* A read wants one that has been inserted at some time. */
	consumer_insert(&same.c, same.mm[0], 4, 8);
	consumer_remove(&same.c);
	for (uintptr_t i = 0; i < N; i++)
		t[i] = go(fn[i], fn[i] == start_same ? (void *)same.mm[0] : (void *)i);
	while (LOAD(&same.removed) < (unsigned int)ROUNDS(3000))
		sched_yield();
	STORE(&same.over, true);
	for (int i = 0; i < N; i++)
		done(t[i]);
	if (mmu_range_notifier_remove(&same.c.mrn) == 0)
		same.removed++;
	CHECK_EQ(same.inserted, same.removed);
	destroy_idle(same.mm[0]);
	destroy_idle(same.mm[1]);
}

TEST(a5_register_and_unregister_of_the_same_notifier)
{
	static const struct mmu_notifier_ops ops;
	static void *(*const fn[])(void *) = {register_same, register_same, unregister_same,
					      unregister_same, start_same};
	enum { N = sizeof(fn) / sizeof(fn[0]) };
	pthread_t t[N];

	same.mm[0] = new_mm();
	same.mm[1] = new_mm();
	same.mn.ops = &ops;
	for (uintptr_t i = 0; i < N; i++)
		t[i] = go(fn[i], fn[i] == start_same ? (void *)same.mm[0] : (void *)i);
	while (LOAD(&same.unregistered) < (unsigned int)ROUNDS(3000))
		sched_yield();
	STORE(&same.over, true);
	for (int i = 0; i < N; i++)
		done(t[i]);
	for (int i = 0; i < 2; i++)
		if (mmu_notifier_unregister(&same.mn, same.mm[i]) == 0)
			same.unregistered++;
	CHECK_EQ(same.registered, same.unregistered);
	destroy_idle(same.mm[0]);
	destroy_idle(same.mm[1]);
}

/*
 * The first read waits for a token; meanwhile the notifier is removed and inserted again, after another token has begun.
 * What the read has seen is nothing to that insertion: its own first read waits for that token (A3).
 */
TEST(a3_a_first_read_does_not_stand_for_a_later_insertion)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range first_token = pages(mm, 4, 5), second = pages(mm, 5, 6);
	const struct timespec past = from_now(0);
	struct reader reader, again;
	struct consumer c;

	consumer_init(&c);
	watch_waits();
	start(&first_token);
	consumer_insert(&c, mm, 4, 8);
	reader = (struct reader){.c = &c, .until = true};
	reader_go(&reader);
	test_gate_wait(&waits.first);
	consumer_remove(&c);
	start(&second);
	consumer_insert(&c, mm, 4, 8);
	end(&first_token);
	reader_done(&reader);
	CHECK(!reader.passed);
	again = (struct reader){.c = &c, .until = true, .deadline = &past};
	reader_go(&again);
	reader_done(&again);
	CHECK_ERR(again.result, -ETIMEDOUT);
	end(&second);
	consumer_check_works(&c);
	consumer_remove(&c);
	destroy_idle(mm);
}

/* Once its removal has begun, nobody would be told of what is read: so nothing is. */
TEST(a5_nothing_is_read_of_what_is_on_its_way_out)
{
	struct mrn_mm *mm = new_mm();
	struct consumer *c = heap_consumer(mm, 4, 8);
	uint64_t seq = 77;

	CHECK_ERR(mrn_range_notifier_remove_async(&c->mrn, free_consumer), 0);
	CHECK_ERR(mrn_range_read_begin_until(&c->mrn, NULL, &seq), -ENOENT);
	CHECK_EQ(seq, 77);
	CHECK_EQ(mmu_range_read_begin(&c->mrn), 0);
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	CHECK_EQ(LOAD(&freed), 1);
	destroy_idle(mm);
}

/* ------------------------------------------------------------------------------ who runs free functions */

/* A consumer's lock, which its free functions take, and which is held around calls into the library. */
static struct {
	pthread_mutex_t lock;
	pthread_t caller;
	unsigned int in_caller, elsewhere;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void free_under_lock(struct mmu_range_notifier *mrn)
{
	pthread_mutex_lock(&table.lock);
	ADD(pthread_equal(pthread_self(), table.caller) ? &table.in_caller : &table.elsewhere, 1);
	pthread_mutex_unlock(&table.lock);
	free(consumer_of(mrn));
	ADD(&freed, 1);
}

static struct mmu_notifier *plain_alloc(struct mrn_mm *mm)
{
	(void)mm;
	return calloc(1, sizeof(struct mmu_notifier));
}

static void plain_free(struct mmu_notifier *mn)
{
	pthread_mutex_lock(&table.lock);
	ADD(pthread_equal(pthread_self(), table.caller) ? &table.in_caller : &table.elsewhere, 1);
	pthread_mutex_unlock(&table.lock);
	free(mn);
	ADD(&freed, 1);
}

static const struct mmu_notifier_ops plain_ops = {.alloc_notifier = plain_alloc,
						  .free_notifier = plain_free};

/* remove, unregister, remove_async, put and get with the lock held, while something is queued. */
TEST(a5_no_call_runs_a_free_function_under_its_callers_locks)
{
	static const struct mmu_notifier_ops none;
	struct mrn_mm *mm = new_mm(), *mm2 = new_mm();
	struct mmu_notifier mn = {.ops = &none}, *got;
	struct consumer c;

	table.caller = pthread_self();
	consumer_init(&c);
	consumer_insert(&c, mm, 1, 2);
	CHECK_ERR(mmu_notifier_register(&mn, mm), 0);
	CHECK_ERR(mmu_notifier_get(&plain_ops, mm, &got), 0);
	pthread_mutex_lock(&table.lock);
	for (int i = 0; i < 2; i++)
		CHECK_ERR(mrn_range_notifier_remove_async(&heap_consumer(mm, 4, 8)->mrn,
							  free_under_lock),
			  0);
	CHECK_ERR(mmu_notifier_put(got), 0);
	consumer_remove(&c);
	CHECK_ERR(mmu_notifier_unregister(&mn, mm), 0);
	/* Nor another mm's, by synchronize. */
	CHECK_ERR(mmu_notifier_synchronize(mm2), 0);
	CHECK_EQ(LOAD(&freed), 0);
	pthread_mutex_unlock(&table.lock);
	await_freed(3);
	CHECK_EQ(table.elsewhere, 3);
	/* By name, it is the caller that runs them. */
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	destroy_idle(mm);
	destroy_idle(mm2);
}

/* One whose callback runs is not waited for by the reaper: the others go first. */
TEST(a5_async_that_is_not_ready_holds_up_nobody)
{
	struct mrn_mm *mm = new_mm(), *mm2 = new_mm();
	struct test_gate entered = {0}, leave = {0};
	struct consumer *victim = heap_consumer(mm, 4, 5), c;
	pthread_t starter;

	consumer_init(&c);
	consumer_insert(&c, mm, 20, 21);
	victim->entered = &entered;
	victim->leave = &leave;
	starter = go(start_and_end_4_8, mm);
	test_gate_wait(&entered);
	CHECK_ERR(mrn_range_notifier_remove_async(&victim->mrn, free_consumer), 0);
	CHECK_ERR(mrn_range_notifier_remove_async(&heap_consumer(mm, 6, 8)->mrn, free_consumer), 0);
	CHECK_ERR(mrn_range_notifier_remove_async(&heap_consumer(mm2, 6, 8)->mrn, free_consumer),
		  0);
	consumer_remove(&c);
	await_freed(2);
	test_gate_open(&leave);
	done(starter);
	/* The last unpin wakes it. */
	await_freed(3);
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	CHECK_ERR(mmu_notifier_synchronize(mm2), 0);
	destroy_idle(mm);
	destroy_idle(mm2);
}

TEST(a5_async_after_the_end_is_freed)
{
	struct mrn_mm *mm = new_mm();
	struct consumer *c = heap_consumer(mm, 4, 8), *c2 = heap_consumer(mm, 4, 8);
	struct mmu_notifier *got;

	CHECK_ERR(mmu_notifier_get(&plain_ops, mm, &got), 0);
	CHECK_ERR(mrn_mm_destroy(mm), 0);
	CHECK_ERR(mrn_range_notifier_remove_async(&c->mrn, free_consumer), 0);
	CHECK_EQ(LOAD(&freed), 1);
	CHECK_ERR(mrn_range_notifier_remove_async(&c2->mrn, free_consumer), 0);
	CHECK_EQ(LOAD(&freed), 2);
	CHECK_ERR(mmu_notifier_put(got), 0);
	await_freed(3);
}
