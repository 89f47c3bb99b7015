/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A3, P2: insert against starts. It never waits; and whoever starts at the same moment either calls
 * the new notifier or is waited for by its first read.
 */
#include "tests/core/fixture.h"

/* --------------------------------------------------------------------------- one step at a time */

struct walked {
	struct mmu_notifier_range range;
	struct test_gate started;
	bool ended;
};

static void *start_then_end_when_waited_for(void *arg)
{
	struct walked *w = arg;

	start(&w->range);
	test_gate_open(&w->started);
	test_gate_wait(&waits.first);
	STORE(&w->ended, true);
	end(&w->range);
	return NULL;
}

static void insert_after_the_walk(unsigned int slots)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range elsewhere = pages(mm, 50, 51);
	struct walked w = {.range = pages(mm, 4, 5)};
	struct consumer c;
	pthread_t t;
	uint64_t seq;

	mrn_check_slots = slots;
	watch_waits();
	consumer_init(&c);
	start(&elsewhere);
	t = go(start_then_end_when_waited_for, &w);
	test_gate_wait(&w.started);
	/* The walk is over: the token will not call back. insert does not wait for it (P2)... */
	consumer_insert(&c, mm, 4, 8);
	CHECK(!LOAD(&w.ended));
	/* ... and the first read does. */
	seq = mmu_range_read_begin(&c.mrn);
	CHECK(LOAD(&w.ended));
	CHECK_EQ(c.calls, 0);
	CHECK(consumer_publish(&c, seq));
	done(t);
	end(&elsewhere);
	consumer_remove(&c);
	destroy_idle(mm);
}

TEST(a3_insert_after_the_walk_first_read_waits)
{
	insert_after_the_walk(MRN_TOKEN_SLOTS);
}
TWIN(a3_insert_after_the_walk_first_read_waits, no_wait, BREAK(A2_WAIT));
TWIN(a3_insert_after_the_walk_first_read_waits, no_first_look, BREAK(A3_FIRST_READ));

TEST(a3_insert_after_the_walk_first_read_waits_for_overflow)
{
	insert_after_the_walk(1);
}

static void *start_and_end_4_8(void *mm)
{
	start_and_end(mm, 4, 8);
	return NULL;
}

/* An overlapping invalidation sits in a callback: insert and remove of others go by. */
TEST(p2_insert_and_remove_while_another_callback_blocks)
{
	struct mrn_mm *mm = new_mm(), *mm2 = new_mm();
	struct test_gate entered = {0}, leave = {0};
	struct consumer blocked, before, after, later[20];
	pthread_t t;

	consumer_init(&blocked);
	consumer_init(&before);
	consumer_init(&after);
	/* One that the walk has passed, and one that it has not come to. */
	consumer_insert(&before, mm, 4, 8);
	consumer_insert(&blocked, mm, 5, 8);
	consumer_insert(&after, mm, 6, 8);
	blocked.entered = &entered;
	blocked.leave = &leave;
	t = go(start_and_end_4_8, mm);
	test_gate_wait(&entered);
	CHECK_EQ(before.calls, 1);
	for (int i = 0; i < 20; i++) {
		consumer_init(&later[i]);
		consumer_insert(&later[i], mm, 4, 8);
	}
	consumer_remove(&before);
	consumer_remove(&after);
	/* There it can be pinned again, and its id is not above the walk's limit. */
	consumer_insert(&after, mm2, 6, 8);
	for (int i = 0; i < 10; i++)
		consumer_remove(&later[i]);
	/* None of that has waited: the callback is still in there. */
	CHECK_EQ(LOAD(&blocked.inside), 1);
	test_gate_open(&leave);
	done(t);
	/* Removed before the walk came to it; inserted after the walk began. */
	CHECK_EQ(after.calls, 0);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(later[i].calls, 0);
	for (int i = 10; i < 20; i++)
		consumer_remove(&later[i]);
	consumer_remove(&blocked);
	consumer_remove(&after);
	destroy_idle(mm);
	destroy_idle(mm2);
}

TWIN(p2_insert_and_remove_while_another_callback_blocks, looked_up_ahead, BREAK(INDEX_AHEAD));

/*
 * Inserting for ever does not keep a walk going for ever: a walk calls who was there when it began.
 */
static void insert_more(struct consumer *c, const struct mmu_notifier_range *range)
{
	struct test_gate **ask = c->arg;

	(void)range;
	test_gate_open(ask[0]);
	test_gate_wait(ask[1]);
}

TEST(a3_a_walk_ends_although_notifiers_keep_coming)
{
	struct mrn_mm *mm = new_mm();
	struct test_gate asked = {0}, inserted = {0}, *ask[2] = {&asked, &inserted};
	struct consumer first, more[100];
	pthread_t t;

	consumer_init(&first);
	consumer_insert(&first, mm, 4, 5);
	first.hook = insert_more;
	first.arg = ask;
	t = go(start_and_end_4_8, mm);
	test_gate_wait(&asked);
	for (int i = 0; i < 100; i++) {
		consumer_init(&more[i]);
		consumer_insert(&more[i], mm, 4, 5 + (unsigned int)i % 3);
	}
	test_gate_open(&inserted);
	done(t);
	for (int i = 0; i < 100; i++) {
		CHECK_EQ(more[i].calls, 0);
		consumer_check_works(&more[i]);
		consumer_remove(&more[i]);
	}
	consumer_remove(&first);
	destroy_idle(mm);
}

/* --------------------------------------------------------------------------------------- races */

/*
 * Each round, one thread starts while the other inserts. The token stays until the new notifier has
 * begun its first read, or waits in it. So afterwards one of the two has seen the other, always.
 */
static struct {
	struct mrn_mm *mm;
	struct test_barrier round;
	struct consumer c;
	struct test_gate read; /* begun, or about to wait */
	uint64_t translation;
	unsigned int waited;
	bool over;
} race;

static void note_race_wait(uint64_t token_seq)
{
	(void)token_seq;
	race.waited = 1; /* by the reader's own thread */
	test_gate_open(&race.read);
}

static void spin(unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		__asm__ volatile("" ::: "memory");
}

static void *race_starts(void *arg)
{
	struct test_rand seed = rand_stream(11);

	(void)arg;
	for (;;) {
		struct mmu_notifier_range r = pages(race.mm, 4, 5);

		test_barrier_wait(&race.round);
		if (race.over)
			return NULL;
		spin(below(&seed, 400));
		start(&r);
		CHECK(!consumer_has_shadow(&race.c));
		test_gate_wait(&race.read);
		ADD(&race.translation, 1);
		CHECK(!consumer_has_shadow(&race.c));
		end(&r);
		test_barrier_wait(&race.round);
	}
}

static void insert_races_start(unsigned int slots, unsigned int rounds)
{
	unsigned int called = 0, waited = 0, both = 0, neither = 0;
	struct mmu_notifier_range elsewhere;
	struct test_rand seed = rand_stream(12);
	pthread_t t;

	mrn_check_slots = slots;
	memset(&race, 0, sizeof(race));
	race.mm = new_mm();
	test_barrier_init(&race.round, 2);
	mrn_check_wait_hook = note_race_wait;
	elsewhere = pages(race.mm, 50, 51);
	start(&elsewhere);
	consumer_init(&race.c);
	t = go(race_starts, NULL);
	for (unsigned int i = 0; test_round_is_due(i, rounds) && !neither; i++) {
		uint64_t seq, translation;

		memset(&race.read, 0, sizeof(race.read));
		race.waited = 0;
		race.c.calls = 0;
		test_barrier_wait(&race.round);
		spin(below(&seed, 400));
		consumer_insert(&race.c, race.mm, 4, 8);
		seq = mmu_range_read_begin(&race.c.mrn);
		translation = LOAD(&race.translation);
		/* Under the lock, so that the start's look at the shadow comes before or after. */
		pthread_mutex_lock(&race.c.lock);
		if (!mmu_range_read_retry(&race.c.mrn, seq)) {
			race.c.shadow = true;
			CHECK_EQ(translation, LOAD(&race.translation));
		}
		pthread_mutex_unlock(&race.c.lock);
		test_gate_open(&race.read);
		test_barrier_wait(&race.round);
		/* A3. */
		both += race.c.calls && race.waited;
		called += race.c.calls && !race.waited;
		waited += !race.c.calls && race.waited;
		neither += !race.c.calls && !race.waited;
		consumer_remove(&race.c);
		race.c.shadow = false;
	}
	race.over = true;
	test_barrier_wait(&race.round);
	done(t);
	NOTE("%u slots: called back %u, waited for %u, both %u, neither %u (must be 0)", slots,
	     called, waited, both, neither);
	CHECK_EQ(neither, 0);
	end(&elsewhere);
	destroy_idle(race.mm);
}

TEST(a3_insert_races_start)
{
	insert_races_start(MRN_TOKEN_SLOTS, ROUNDS(20000));
}
TWIN(a3_insert_races_start, no_first_look, UNTIL_CAUGHT(BREAK(A3_FIRST_READ)));

TEST(a3_insert_races_start_in_the_overflow_list)
{
	insert_races_start(1, ROUNDS(10000));
}

TEST(a3_insert_races_start_for_long, .slow = true, .timeout_s = 120)
{
	insert_races_start(MRN_TOKEN_SLOTS, ROUNDS(400000));
	insert_races_start(1, ROUNDS(200000));
}
