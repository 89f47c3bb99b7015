/* SPDX-License-Identifier: BSD-3-Clause */
/* List notifiers that are shared by reference: get and put, and freeing with the last. */
#include "tests/core/fixture.h"

/* What get makes. Freed memory is poisoned and, where it can be told, given back. */
struct shared {
	struct mmu_notifier mn;
	unsigned int inside;
	bool dead;
};

static struct {
	unsigned int made, freed, released, started, ended;
	bool no_memory;
	struct test_gate *entered, *leave;
	void (*hook)(struct mmu_notifier *mn);
	void (*free_hook)(struct mmu_notifier *mn);
} g;

static struct shared *shared_of(struct mmu_notifier *mn)
{
	return container_of(mn, struct shared, mn);
}

static struct mmu_notifier *shared_alloc(struct mrn_mm *mm)
{
	struct shared *s;

	(void)mm;
	if (g.no_memory)
		return NULL;
	s = calloc(1, sizeof(*s));
	CHECK(s != NULL);
	ADD(&g.made, 1);
	return &s->mn;
}

static void shared_free(struct mmu_notifier *mn)
{
	struct shared *s = shared_of(mn);

	CHECK(!s->dead);
	CHECK_EQ(LOAD(&s->inside), 0);
	s->dead = true;
	if (g.free_hook)
		g.free_hook(mn);
	ADD(&g.freed, 1);
	memset(s, 0xa5, sizeof(*s));
	free(s);
}

static void shared_release(struct mmu_notifier *mn, struct mrn_mm *mm)
{
	(void)mn;
	(void)mm;
	ADD(&g.released, 1);
}

static int shared_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct shared *s = shared_of(mn);
	struct test_gate *leave = g.leave;

	(void)range;
	ADD(&s->inside, 1);
	ADD(&g.started, 1);
	if (g.entered) {
		test_gate_open(g.entered);
		test_gate_wait(leave);
	}
	if (g.hook)
		g.hook(mn);
	CHECK(!s->dead);
	ADD(&s->inside, -1);
	return 0;
}

static void shared_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)range;
	CHECK(!shared_of(mn)->dead);
	ADD(&g.ended, 1);
}

static const struct mmu_notifier_ops shared_ops =
					     {
						     .release = shared_release,
						     .invalidate_range_start = shared_start,
						     .invalidate_range_end = shared_end,
						     .alloc_notifier = shared_alloc,
						     .free_notifier = shared_free,
},
				     other_ops = {
					     .alloc_notifier = shared_alloc,
					     .free_notifier = shared_free,
};

static struct mmu_notifier *get(struct mrn_mm *mm)
{
	struct mmu_notifier *mn = NULL;

	CHECK_ERR(mmu_notifier_get(&shared_ops, mm, &mn), 0);
	CHECK(mn != NULL);
	return mn;
}

TEST(getput_same_ops_share_one)
{
	struct mrn_mm *mm = new_mm(), *mm2 = new_mm();
	struct mmu_notifier *a, *b, *c, *d;

	a = get(mm);
	b = get(mm);
	CHECK(a == b);
	CHECK_EQ(g.made, 1);
	/* Other ops, another mm: another notifier. */
	CHECK_ERR(mmu_notifier_get(&other_ops, mm, &c), 0);
	d = get(mm2);
	CHECK(c != a && d != a && c != d);
	start_and_end(mm, 1, 2);
	CHECK_EQ(g.started, 1);
	CHECK_EQ(g.ended, 1);
	/* It is get's: unregister has no say. */
	CHECK_ERR(mmu_notifier_unregister(a, mm), -EINVAL);
	CHECK_ERR(mmu_notifier_put(a), 0);
	CHECK_EQ(g.freed, 0);
	CHECK_ERR(mmu_notifier_put(b), 0);
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	CHECK_EQ(g.freed, 1);
	/* The next get makes a new one. */
	a = get(mm);
	CHECK_EQ(g.made, 4);
	CHECK_ERR(mmu_notifier_put(a), 0);
	CHECK_ERR(mmu_notifier_put(c), 0);
	CHECK_ERR(mmu_notifier_put(d), 0);
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	CHECK_ERR(mmu_notifier_synchronize(mm2), 0);
	CHECK_EQ(g.freed, 4);
	destroy_idle(mm);
	destroy_idle(mm2);
}

static void *start_and_end_4_8(void *mm)
{
	start_and_end(mm, 4, 8);
	return NULL;
}

static void *synchronize(void *mm)
{
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	CHECK_EQ(LOAD(&g.freed), 1);
	return NULL;
}

TEST(getput_freed_once_the_running_callbacks_have_ended)
{
	struct test_gate entered = {0}, leave = {0};
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier *mn = get(mm);
	pthread_t starter, waiter;

	g.entered = &entered;
	g.leave = &leave;
	starter = go(start_and_end_4_8, mm);
	test_gate_wait(&entered);
	/* Does not wait. */
	CHECK_ERR(mmu_notifier_put(mn), 0);
	CHECK_EQ(LOAD(&g.freed), 0);
	/* No callback begins any more. */
	start_and_end(mm, 1, 2);
	CHECK_EQ(LOAD(&g.started), 1);
	waiter = go(synchronize, mm);
	CHECK_EQ(LOAD(&g.freed), 0);
	test_gate_open(&leave);
	done(waiter);
	done(starter);
	CHECK_EQ(g.ended, 0);
	destroy_idle(mm);
}

static void put_in_callback(struct mmu_notifier *mn)
{
	g.hook = NULL;
	CHECK_ERR(mmu_notifier_put(mn), 0);
	CHECK_EQ(LOAD(&g.freed), 0);
}

TEST(getput_put_in_its_own_callback)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier *mn;

	get(mm);
	g.hook = put_in_callback;
	/* From the callback's return on, the reaper may free it. */
	start_and_end(mm, 1, 2);
	CHECK_EQ(g.ended, 0);
	/* A get in between finds it gone, and makes another. */
	mn = get(mm);
	CHECK_EQ(g.made, 2);
	CHECK_ERR(mmu_notifier_put(mn), 0);
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	CHECK_EQ(g.freed, 2);
	destroy_idle(mm);
}

static struct mrn_mm *hook_mm;

static void synchronize_in_free(struct mmu_notifier *mn)
{
	(void)mn;
	CHECK_ERR(mmu_notifier_synchronize(hook_mm), -EDEADLK);
}

static void get_in_callback(struct mmu_notifier *mn)
{
	struct mmu_notifier *out = NULL;

	(void)mn;
	CHECK_ERR(mmu_notifier_get(&shared_ops, hook_mm, &out), -EDEADLK);
	CHECK(!out);
}

TEST(getput_errors_leave_nothing_behind)
{
	static const struct mmu_notifier_ops no_alloc = {.free_notifier = shared_free},
					     no_free = {.alloc_notifier = shared_alloc};
	struct mrn_mm *mm = hook_mm = new_mm();
	struct mmu_notifier_range r = pages(mm, 1, 2);
	struct shared plain = {.mn.ops = &shared_ops};
	struct mmu_notifier *mn = NULL;

	CHECK_ERR(mmu_notifier_get(NULL, mm, &mn), -EINVAL);
	CHECK_ERR(mmu_notifier_get(&shared_ops, NULL, &mn), -EINVAL);
	CHECK_ERR(mmu_notifier_get(&shared_ops, mm, NULL), -EINVAL);
	CHECK_ERR(mmu_notifier_get(&no_alloc, mm, &mn), -EINVAL);
	CHECK_ERR(mmu_notifier_get(&no_free, mm, &mn), -EINVAL);
	g.no_memory = true;
	CHECK_ERR(mmu_notifier_get(&shared_ops, mm, &mn), -ENOMEM);
	g.no_memory = false;
	CHECK(!mn);
	CHECK_EQ(g.made, 0);

	/* Inside an own invalidation it would wait for ever. */
	start(&r);
	CHECK_ERR(mmu_notifier_get(&shared_ops, mm, &mn), -EDEADLK);
	end(&r);
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	CHECK(!mn);
	CHECK_EQ(g.freed, g.made);
	CHECK_EQ(g.released, 0);
	check_idle(mm);

	CHECK_ERR(mmu_notifier_put(NULL), -EINVAL);
	CHECK_ERR(mmu_notifier_put(&plain.mn), -EINVAL);
	BREAK(MISUSE_CHECKS);
	CHECK_ERR(mmu_notifier_register(&plain.mn, mm), 0);
	CHECK_ERR(mmu_notifier_put(&plain.mn), -EINVAL);
	g.hook = get_in_callback;
	start_and_end(mm, 1, 2);
	g.hook = NULL;
	CHECK_ERR(mmu_notifier_unregister(&plain.mn, mm), 0);
	g.free_hook = synchronize_in_free;
	CHECK_ERR(mmu_notifier_put(get(mm)), 0);
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	CHECK_EQ(g.freed, g.made);
	destroy_idle(mm);
}

/* --------------------------------------------------------------------------------------- storms */

struct user {
	struct mrn_mm *mm;
	struct test_rand rand;
	const bool *over;
};

static void *use(void *arg)
{
	struct user *u = arg;

	for (int i = 0; i < ROUNDS(1500); i++) {
		struct mmu_notifier *mn = get(u->mm), *again;

		/* As long as this thread has a reference, everybody gets the same. */
		CHECK(!shared_of(mn)->dead);
		if (below(&u->rand, 2)) {
			again = get(u->mm);
			CHECK(again == mn);
			CHECK_ERR(mmu_notifier_put(again), 0);
		}
		if (below(&u->rand, 4) == 0)
			sched_yield();
		CHECK(!shared_of(mn)->dead);
		CHECK_ERR(mmu_notifier_put(mn), 0);
		if (below(&u->rand, 64) == 0)
			CHECK_ERR(mmu_notifier_synchronize(u->mm), 0);
	}
	return NULL;
}

static void *invalidate(void *arg)
{
	struct user *u = arg;

	while (!LOAD(u->over))
		start_and_end(u->mm, 1, 2);
	return NULL;
}

TEST(getput_storm_of_four_threads)
{
	enum { USERS = 4 };
	struct mrn_mm *mm = new_mm();
	struct user u[USERS + 1];
	pthread_t t[USERS + 1];
	bool over = false;

	for (unsigned int i = 0; i <= USERS; i++) {
		u[i] = (struct user){mm, rand_stream(i), &over};
		t[i] = go(i < USERS ? use : invalidate, &u[i]);
	}
	for (int i = 0; i < USERS; i++)
		done(t[i]);
	STORE(&over, true);
	done(t[USERS]);
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	CHECK_EQ(g.made, g.freed);
	NOTE("%u made and freed, %u starts, %u ends", g.made, g.started, g.ended);
	CHECK(g.ended <= g.started);
	destroy_idle(mm);
}
