/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The classic notifiers: pairing of start and end, registration, and their place behind the ranges.
 */
#include "tests/core/fixture.h"

enum { THREADS = 3 };

/* Counts per thread, which range->owner names: a thread has one invalidation at a time. */
struct listener {
	struct mmu_notifier mn;
	unsigned int open[THREADS];
	unsigned int started, ended, released;
	struct test_gate *entered, *leave; /* as a consumer's, in start */
};

static struct listener *listener_of(struct mmu_notifier *mn)
{
	return container_of(mn, struct listener, mn);
}

static int listener_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct listener *l = listener_of(mn);

	CHECK_EQ(ADD(&l->open[(uintptr_t)range->owner], 1), 1);
	ADD(&l->started, 1);
	if (l->entered) {
		struct test_gate *leave = l->leave;

		test_gate_open(l->entered);
		test_gate_wait(leave);
	}
	return 0;
}

static void listener_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct listener *l = listener_of(mn);

	/* An end without its start would go below zero. */
	CHECK_EQ(ADD(&l->open[(uintptr_t)range->owner], -1), 0);
	ADD(&l->ended, 1);
}

static void listener_release(struct mmu_notifier *mn, struct mrn_mm *mm)
{
	(void)mm;
	ADD(&listener_of(mn)->released, 1);
}

static const struct mmu_notifier_ops listener_ops = {
	.release = listener_release,
	.invalidate_range_start = listener_start,
	.invalidate_range_end = listener_end,
};

static void listener_register(struct listener *l, struct mrn_mm *mm)
{
	memset(l, 0, sizeof(*l));
	l->mn.ops = &listener_ops;
	CHECK_ERR(mmu_notifier_register(&l->mn, mm), 0);
}

static void listener_unregister(struct listener *l, struct mrn_mm *mm)
{
	CHECK_ERR(mmu_notifier_unregister(&l->mn, mm), 0);
	CHECK_EQ(l->released, 1);
}

/* ------------------------------------------------------------------------------ one at a time */

TEST(list_is_told_of_every_invalidation)
{
	struct mrn_mm *mm = new_mm();
	struct listener a, b;

	listener_register(&a, mm);
	start_and_end(mm, 4, 5);
	listener_register(&b, mm);
	start_and_end(mm, 400, 500);
	listener_unregister(&a, mm);
	start_and_end(mm, 1, 2);
	listener_unregister(&b, mm);
	start_and_end(mm, 1, 2);
	CHECK_EQ(a.started, 2);
	CHECK_EQ(a.ended, 2);
	CHECK_EQ(b.started, 2);
	CHECK_EQ(b.ended, 2);
	/* And again: the memory is its owner's. */
	listener_register(&a, mm);
	start_and_end(mm, 1, 2);
	CHECK_EQ(a.ended, 1);
	listener_unregister(&a, mm);
	destroy_idle(mm);
}

/* Any callback may be missing. */
TEST(list_without_callbacks)
{
	static const struct mmu_notifier_ops none;
	static const struct mmu_notifier_ops only_end = {.invalidate_range_end = listener_end};
	struct mmu_notifier empty = {.ops = &none};
	struct listener l = {.mn.ops = &only_end, .open = {1}};
	struct mrn_mm *mm = new_mm();

	CHECK_ERR(mmu_notifier_register(&empty, mm), 0);
	CHECK_ERR(mmu_notifier_register(&l.mn, mm), 0);
	start_and_end(mm, 1, 2);
	CHECK_EQ(l.ended, 1);
	CHECK_ERR(mmu_notifier_unregister(&empty, mm), 0);
	CHECK_ERR(mmu_notifier_unregister(&l.mn, mm), 0);
	destroy_idle(mm);
}

/* The order in which everybody is called. */
static char order[16];
static unsigned int ordered;

static void note_range(struct consumer *c, const struct mmu_notifier_range *range)
{
	(void)range;
	order[ordered++] = *(char *)c->arg;
}

static int note_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	order[ordered++] = 'L';
	return 0;
}

static void note_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	/* Still in progress: the token goes last. */
	CHECK(mrn_tokens_overlap(range->mm, range->start, range->end));
	order[ordered++] = 'E';
}

TEST(list_runs_after_the_range_notifiers)
{
	static const struct mmu_notifier_ops ops = {
		.invalidate_range_start = note_start,
		.invalidate_range_end = note_end,
	};
	struct mmu_notifier first = {.ops = &ops}, last = {.ops = &ops};
	struct mrn_mm *mm = new_mm();
	char names[] = "ab";
	struct consumer a, b;

	CHECK_ERR(mmu_notifier_register(&first, mm), 0);
	consumer_init(&a);
	consumer_init(&b);
	a.hook = b.hook = note_range;
	a.arg = &names[0];
	b.arg = &names[1];
	consumer_insert(&b, mm, 5, 8);
	consumer_insert(&a, mm, 4, 8);
	CHECK_ERR(mmu_notifier_register(&last, mm), 0);
	start_and_end(mm, 4, 8);
	CHECK_EQ(strcmp(order, "abLLEE"), 0);
	consumer_remove(&a);
	consumer_remove(&b);
	CHECK_ERR(mmu_notifier_unregister(&first, mm), 0);
	CHECK_ERR(mmu_notifier_unregister(&last, mm), 0);
	destroy_idle(mm);
}

/*
 * ----------------------------------------------------------------------------------- registering
 */

struct unregisterer {
	struct listener *l;
	struct mrn_mm *mm;
	const bool *left;
	int tid;
};

struct in_progress {
	struct mmu_notifier_range range;
	struct test_gate started;
	bool ended;
};

static void *end_when_waited_for(void *arg)
{
	struct in_progress *p = arg;

	start(&p->range);
	test_gate_open(&p->started);
	test_gate_wait(&waits.first);
	STORE(&p->ended, true);
	end(&p->range);
	return NULL;
}

static void register_waits(unsigned int slots)
{
	struct mrn_mm *mm = new_mm();
	struct in_progress p = {.range = pages(mm, 4, 5)};
	struct listener early, l;
	pthread_t t;

	mrn_check_slots = slots;
	listener_register(&early, mm);
	watch_waits();
	t = go(end_when_waited_for, &p);
	test_gate_wait(&p.started);
	listener_register(&l, mm);
	CHECK(LOAD(&p.ended));
	done(t);
	/* Neither half of an invalidation that began before. */
	CHECK_EQ(l.started, 0);
	CHECK_EQ(l.ended, 0);
	CHECK_EQ(early.started, 1);
	CHECK_EQ(early.ended, 1);
	start_and_end(mm, 1, 2);
	CHECK_EQ(l.started, 1);
	CHECK_EQ(l.ended, 1);
	listener_unregister(&l, mm);
	listener_unregister(&early, mm);
	destroy_idle(mm);
}

TEST(list_register_waits_for_what_is_in_progress)
{
	register_waits(MRN_TOKEN_SLOTS);
	register_waits(1);
}

/*
 * A start that takes the list for empty while the first one is being linked, its number drawn already: it has told
 * nobody, and nor does its end. So too when somebody else is linked behind that one.
 */
static struct test_gate drawn, link_it;

static void hold_link(void)
{
	mrn_check_link_hook = NULL;
	test_gate_open(&drawn);
	test_gate_wait(&link_it);
}

static void *register_first(void *arg)
{
	struct unregisterer *u = arg;

	listener_register(u->l, u->mm);
	return NULL;
}

static void start_while_the_first_is_linked(unsigned int slots)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range elsewhere = pages(mm, 50, 51), r = pages(mm, 4, 5);
	struct listener l, second;
	struct unregisterer u = {.l = &l, .mm = mm}, u2 = {.l = &second, .mm = mm};
	pthread_t t, t2;

	mrn_check_slots = slots;
	memset(&drawn, 0, sizeof(drawn));
	memset(&link_it, 0, sizeof(link_it));
	start(&elsewhere);
	watch_waits();
	mrn_check_link_hook = hold_link;
	t = go(register_first, &u);
	test_gate_wait(&drawn);
	start(&r);
	test_gate_open(&link_it);
	test_gate_wait(&waits.first);
	t2 = go(register_first, &u2);
	while (LOAD(&waits.count) < 2)
		sched_yield();
	end(&r);
	end(&elsewhere);
	done(t);
	done(t2);
	CHECK_EQ(l.started + l.ended, 0);
	CHECK_EQ(second.started + second.ended, 0);
	start_and_end(mm, 1, 2);
	CHECK_EQ(l.ended, 1);
	CHECK_EQ(second.ended, 1);
	listener_unregister(&l, mm);
	listener_unregister(&second, mm);
	destroy_idle(mm);
}

TEST(list_start_while_the_first_is_linked)
{
	start_while_the_first_is_linked(MRN_TOKEN_SLOTS);
	start_while_the_first_is_linked(1);
}
TWIN(list_start_while_the_first_is_linked, by_number, BREAK(A6_TOLD));

/* What was told of the start and is gone by the end, or comes in between, hears no end; whoever stays does. */
TEST(list_between_start_and_end)
{
	static const unsigned int slots[] = {MRN_TOKEN_SLOTS, 1};

	for (int i = 0; i < 2; i++) {
		struct mrn_mm *mm = new_mm();
		struct in_progress p = {.range = pages(mm, 4, 5)};
		struct listener stays, goes, comes;
		struct unregisterer u = {.l = &comes, .mm = mm};
		pthread_t t, t2;

		mrn_check_slots = slots[i];
		listener_register(&stays, mm);
		listener_register(&goes, mm);
		watch_waits();
		t = go(end_when_waited_for, &p);
		test_gate_wait(&p.started);
		listener_unregister(&goes, mm);
		t2 = go(register_first, &u);
		done(t);
		done(t2);
		CHECK_EQ(goes.started, 1);
		CHECK_EQ(goes.ended, 0);
		CHECK_EQ(comes.started + comes.ended, 0);
		CHECK_EQ(stays.started, 1);
		CHECK_EQ(stays.ended, 1);
		/* The same memory again is another registration. */
		listener_register(&goes, mm);
		start_and_end(mm, 1, 2);
		CHECK_EQ(goes.started, 1);
		CHECK_EQ(goes.ended, 1);
		listener_unregister(&goes, mm);
		listener_unregister(&comes, mm);
		listener_unregister(&stays, mm);
		destroy_idle(mm);
	}
}

TEST(list_register_inside_an_own_invalidation)
{
	static const unsigned int slots[] = {MRN_TOKEN_SLOTS, 1};

	for (int i = 0; i < 2; i++) {
		struct mrn_mm *mm = new_mm();
		struct mmu_notifier_range elsewhere = pages(mm, 50, 51), r = pages(mm, 4, 5);
		struct listener l = {.mn.ops = &listener_ops};

		mrn_check_slots = slots[i];
		start(&elsewhere);
		start(&r);
		CHECK_ERR(mmu_notifier_register(&l.mn, mm), -EDEADLK);
		end(&r);
		end(&elsewhere);
		/* As if it had never been. */
		CHECK_EQ(l.started + l.ended + l.released, 0);
		CHECK_ERR(mmu_notifier_unregister(&l.mn, mm), -ENOENT);
		check_idle(mm);
		listener_register(&l, mm);
		start_and_end(mm, 1, 2);
		CHECK_EQ(l.ended, 1);
		listener_unregister(&l, mm);
		destroy_idle(mm);
	}
}

/*
 * --------------------------------------------------------------------------------- unregistering
 */

static void *start_and_end_4_8(void *mm)
{
	start_and_end(mm, 4, 8);
	return NULL;
}

static void *unregister_it(void *arg)
{
	struct unregisterer *u = arg;

	STORE(&u->tid, my_tid());
	CHECK_ERR(mmu_notifier_unregister(&u->l->mn, u->mm), 0);
	CHECK(LOAD(u->left));
	CHECK_EQ(u->l->released, 1);
	CHECK_EQ(u->l->ended, 0);
	memset(u->l, 0xa5, sizeof(*u->l));
	return NULL;
}

TEST(a5_unregister_waits_for_a_running_callback)
{
	struct mrn_mm *mm = new_mm();
	struct test_gate entered = {0}, leave = {0};
	bool left = false;
	struct listener l;
	struct unregisterer u = {.l = &l, .mm = mm, .left = &left};
	pthread_t starter, unregisterer;

	listener_register(&l, mm);
	l.entered = &entered;
	l.leave = &leave;
	starter = go(start_and_end_4_8, mm);
	test_gate_wait(&entered);
	unregisterer = go(unregister_it, &u);
	await_sleep(&u.tid);
	STORE(&left, true);
	test_gate_open(&leave);
	done(unregisterer);
	done(starter);
	destroy_idle(mm);
}
TWIN(a5_unregister_waits_for_a_running_callback, no_wait, BREAK(A5_REMOVE_WAIT));

/* Of two, one blocks in its callback and the other goes: nobody waits. */
TEST(p2_unregister_while_anothers_callback_blocks)
{
	struct mrn_mm *mm = new_mm();
	struct test_gate entered = {0}, leave = {0};
	struct listener blocked, before, after;
	pthread_t starter;

	listener_register(&before, mm);
	listener_register(&blocked, mm);
	listener_register(&after, mm);
	blocked.entered = &entered;
	blocked.leave = &leave;
	starter = go(start_and_end_4_8, mm);
	test_gate_wait(&entered);
	listener_unregister(&before, mm);
	listener_unregister(&after, mm);
	CHECK_EQ(before.started, 1);
	CHECK_EQ(after.started, 0);
	CHECK(!test_gate_is_open(&leave));
	test_gate_open(&leave);
	done(starter);
	CHECK_EQ(before.ended + after.ended, 0);
	CHECK_EQ(blocked.ended, 1);
	listener_unregister(&blocked, mm);
	destroy_idle(mm);
}

/* ---------------------------------------------------------------------------------------- storm */

struct storm {
	struct mrn_mm *mm;
	uintptr_t id;
	unsigned int count;
	const bool *over;
};

static void *storm_run(void *arg)
{
	struct storm *s = arg;

	for (; !LOAD(s->over); s->count++) {
		struct mmu_notifier_range r = pages(s->mm, 4, 5);

		r.owner = (void *)s->id;
		start(&r);
		end(&r);
	}
	return NULL;
}

/*
 * Each registration waits for whoever has begun, also for threads that wait for a processor: how long a round takes is
 * the scheduler's. So both storms end in time, but not before those that come and go have been told of something.
 */
static bool round_is_due(unsigned int round, unsigned int rounds, unsigned int heard)
{
	return test_round_is_due(round, rounds) || heard < 100;
}

static void pairing_storm(unsigned int slots, unsigned int rounds)
{
	enum { N = 4 };
	struct mrn_mm *mm = new_mm();
	struct test_rand rand = rand_stream(1);
	struct listener always, l[N];
	struct storm s[THREADS];
	unsigned int total = 0, heard = 0, cut = 0, round;
	bool in[N] = {false}, over = false;
	pthread_t t[THREADS];

	mrn_check_slots = slots;
	listener_register(&always, mm);
	for (uintptr_t i = 0; i < THREADS; i++) {
		s[i] = (struct storm){mm, i, 0, &over};
		t[i] = go(storm_run, &s[i]);
	}
	for (round = 0; round_is_due(round, rounds, heard); round++) {
		unsigned int k = below(&rand, N);

		if (in[k]) {
			listener_unregister(&l[k], mm);
			heard += l[k].started;
			/* Only what was in progress at that moment has no end. */
			for (int j = 0; j < THREADS; j++)
				cut += l[k].open[j];
			CHECK(l[k].started - l[k].ended <= THREADS);
			memset(&l[k], 0xa5, sizeof(l[k]));
		} else {
			listener_register(&l[k], mm);
		}
		in[k] = !in[k];
	}
	STORE(&over, true);
	for (int i = 0; i < THREADS; i++) {
		done(t[i]);
		total += s[i].count;
	}
	for (int k = 0; k < N; k++)
		if (in[k])
			listener_unregister(&l[k], mm);
	CHECK_EQ(always.started, total);
	CHECK_EQ(always.ended, total);
	listener_unregister(&always, mm);
	NOTE("%u slots, %u rounds: %u invalidations, %u heard of by who came and went, %u cut short",
	     slots, round, total, heard, cut);
	destroy_idle(mm);
}

/* The only one comes and goes all the time, so that most starts take the list for empty. */
static void alone_in_a_storm(unsigned int slots, unsigned int rounds)
{
	struct mrn_mm *mm = new_mm();
	struct storm s[THREADS];
	unsigned int heard = 0, round;
	bool over = false;
	pthread_t t[THREADS];
	struct listener l;

	mrn_check_slots = slots;
	for (uintptr_t i = 0; i < THREADS; i++) {
		s[i] = (struct storm){mm, i, 0, &over};
		t[i] = go(storm_run, &s[i]);
	}
	for (round = 0; round_is_due(round, rounds, heard); round++) {
		listener_register(&l, mm);
		listener_unregister(&l, mm);
		heard += l.started;
	}
	STORE(&over, true);
	for (int i = 0; i < THREADS; i++)
		done(t[i]);
	NOTE("%u slots, %u rounds: heard of %u", slots, round, heard);
	destroy_idle(mm);
}

TEST(list_start_and_end_pair_for_one_alone)
{
	alone_in_a_storm(MRN_TOKEN_SLOTS, ROUNDS(20000));
}

TEST(list_start_and_end_pair_for_one_alone_in_the_overflow_list)
{
	alone_in_a_storm(1, ROUNDS(5000));
}

TEST(list_start_and_end_pair_in_a_storm)
{
	pairing_storm(MRN_TOKEN_SLOTS, ROUNDS(4000));
}

TEST(list_start_and_end_pair_in_the_overflow_list)
{
	pairing_storm(1, ROUNDS(4000));
}

TEST(list_start_and_end_pair_in_a_long_storm, .slow = true, .timeout_s = 120)
{
	pairing_storm(MRN_TOKEN_SLOTS, ROUNDS(40000));
}

TEST(list_start_and_end_pair_in_a_long_storm_with_two_slots, .slow = true, .timeout_s = 120)
{
	pairing_storm(2, ROUNDS(40000));
}
