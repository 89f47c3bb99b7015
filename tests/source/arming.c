/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Notifiers that arm their ranges: when they do, what ends it, and what cannot be watched. The watcher is the test's own;
 * tests/source/watched.c has the real one.
 */
#include "source/arming.h"
#include "source/check.h"
#include "source/process.h"
#include "tests/core/fixture.h"

#define NEED MRN_CAUSE_BIT(MRN_CAUSE_MUNMAP)

static struct {
	uintptr_t start, end;
	uint64_t need;
	unsigned int armings, changes, leavings;
	int answer;	    /* what arm returns */
	int answer_first;   /* and the first time, unless it is 0 */
	void (*hook)(void); /* inside arm */
	/* Of the consumer's calls when changes() was called last. */
	unsigned int calls;
	bool inserted;	   /* when leaves() was called */
	unsigned int arms; /* how many threads are inside arm */
} watch;

static struct consumer c;

/* Several readers may be here at once; what is told for the next one, one takes. */
static int watch_arm(uintptr_t start, uintptr_t end, uint64_t need)
{
	int first = __atomic_exchange_n(&watch.answer_first, 0, __ATOMIC_ACQ_REL);
	void (*hook)(void) = __atomic_exchange_n(&watch.hook, NULL, __ATOMIC_ACQ_REL);

	STORE(&watch.start, start);
	STORE(&watch.end, end);
	STORE(&watch.need, need);
	ADD(&watch.armings, 1);
	ADD(&watch.arms, 1);
	if (hook)
		hook();
	ADD(&watch.arms, -1);
	return first ? first : LOAD(&watch.answer);
}

static void watch_changes(const struct mmu_notifier_range *range, uintptr_t start, uintptr_t end)
{
	(void)range;
	CHECK_EQ(start, PAGE(4));
	CHECK_EQ(end, PAGE(8));
	watch.changes++;
	watch.calls = c.calls;
}

static void watch_leaves(const struct mmu_range_notifier *mrn)
{
	CHECK_EQ(LOAD(&watch.arms), 0);
	watch.leavings++;
	watch.inserted = mrn_index_may_overlap(&mrn->mm->index, mrn->node.start, mrn->node.end);
}

static const struct mrn_arming arming = {
	.watcher = MRN_ARMING_WATCHER,
	.arm = watch_arm,
	.disarm_changing = watch_changes,
	.disarm = watch_leaves,
};

static struct mrn_mm *setup(void)
{
	struct mrn_mm *mm = new_mm();

	consumer_init(&c);
	CHECK_ERR(mrn_arming_insert(&c.mrn, PAGE(4), PAGE(4), mm, &arming, NEED), 0);
	return mm;
}

static void teardown(struct mrn_mm *mm)
{
	consumer_remove(&c);
	CHECK_EQ(mrn_source_process->tags, 0);
	destroy_idle(mm);
}

/* A read that may be published; and that has armed so many times. */
static void read_arms(unsigned int times)
{
	unsigned int before = LOAD(&watch.armings);

	CHECK(consumer_publish(&c, mmu_range_read_begin(&c.mrn)));
	CHECK_EQ(LOAD(&watch.armings) - before, times);
}

TEST(the_first_read_after_each_callback_arms)
{
	struct mrn_mm *mm = setup();

	read_arms(1);
	CHECK_EQ(watch.start, PAGE(4));
	CHECK_EQ(watch.end, PAGE(8));
	CHECK_EQ(watch.need, NEED);
	read_arms(0);
	start_and_end(mm, 1, 4);
	read_arms(0);
	CHECK_EQ(watch.changes, 0);
	start_and_end(mm, 7, 9);
	/* Told of the change once the shadow is gone. */
	CHECK_EQ(watch.changes, 1);
	CHECK_EQ(watch.calls, 1);
	read_arms(1);
	read_arms(0);
	teardown(mm);
	CHECK_EQ(watch.leavings, 1);
	CHECK(watch.inserted);
}
TWIN(the_first_read_after_each_callback_arms, callbacks_note_nothing, BREAK(ARMING_UNREAD));

/* What is not called loses nothing: a refusal, and an event that is not wanted. */
TEST(without_a_callback_it_stays_watched)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range r = pages(mm, 4, 8);

	consumer_init(&c);
	c.mrn.events = 1u << MMU_NOTIFY_UNMAP | 1u << MMU_NOTIFY_CLEAR;
	c.refuse = true;
	CHECK_ERR(mrn_arming_insert(&c.mrn, PAGE(4), PAGE(4), mm, &arming, NEED), 0);
	read_arms(1);
	CHECK_ERR(mmu_notifier_invalidate_range_start_nonblock(&r), -EAGAIN);
	r.event = MMU_NOTIFY_PROTECTION_VMA;
	start(&r);
	end(&r);
	CHECK_EQ(watch.changes, 0);
	CHECK(consumer_has_shadow(&c));
	read_arms(0);
	teardown(mm);
}

TEST(without_a_watcher_nobody_is_asked)
{
	struct mrn_mm *mm = setup();

	consumer_remove(&c);
	CHECK_EQ(watch.leavings, 1);
	consumer_insert(&c, mm, 4, 8);
	read_arms(0);
	start_and_end(mm, 4, 8);
	read_arms(0);
	CHECK_EQ(watch.changes, 0);
	consumer_remove(&c);
	CHECK_EQ(watch.leavings, 1);
	destroy_idle(mm);
}

static void note_gone(struct mmu_range_notifier *mrn)
{
	(void)mrn;
	CHECK_EQ(watch.leavings, 1);
}

TEST(an_asynchronous_removal_ends_the_watching_before_it_frees)
{
	struct mrn_mm *mm = setup();

	read_arms(1);
	CHECK_ERR(mrn_range_notifier_remove_async(&c.mrn, note_gone), 0);
	CHECK_EQ(mmu_range_read_begin(&c.mrn), 0);
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	CHECK_EQ(watch.leavings, 1);
	destroy_idle(mm);
}

/* ----------------------------------------------------------------------- changes while somebody arms */

static struct mrn_mm *changing;

static void change_now(const struct mmu_range_notifier *mrn)
{
	(void)mrn;
	mrn_check_armed_hook = NULL;
	start_and_end(changing, 4, 5);
}

/* A callback between the arming and the note that it has armed: the next read arms again. */
TEST(a_change_while_it_arms_is_not_overlooked)
{
	struct mrn_mm *mm = setup();

	changing = mm;
	mrn_check_armed_hook = change_now;
	CHECK(!consumer_publish(&c, mmu_range_read_begin(&c.mrn)));
	CHECK_EQ(watch.armings, 1);
	CHECK_EQ(watch.changes, 1);
	read_arms(1);
	teardown(mm);
}
TWIN(a_change_while_it_arms_is_not_overlooked, noted_anyway, BREAK(ARMING_TAG));

static struct test_gate has_armed, note_it, second_arms, second_may;

static void wait_to_note(const struct mmu_range_notifier *mrn)
{
	(void)mrn;
	mrn_check_armed_hook = NULL;
	test_gate_open(&has_armed);
	test_gate_wait(&note_it);
}

static void wait_to_arm(void)
{
	test_gate_open(&second_arms);
	test_gate_wait(&second_may);
}

static void *read_once(void *accepted)
{
	*(bool *)accepted = consumer_publish(&c, mmu_range_read_begin(&c.mrn));
	return NULL;
}

/*
 * The same with a second reader, which has begun to arm after the change, and has not armed yet, when the first one notes
 * that it has: a third has to arm for itself.
 */
TEST(nobody_notes_what_another_one_arms)
{
	struct mrn_mm *mm = setup();
	bool first, second;
	pthread_t a, b;

	mrn_check_armed_hook = wait_to_note;
	a = go(read_once, &first);
	test_gate_wait(&has_armed);
	start_and_end(mm, 4, 5);
	watch.hook = wait_to_arm;
	b = go(read_once, &second);
	test_gate_wait(&second_arms);
	test_gate_open(&note_it);
	done(a);
	CHECK(!first);
	read_arms(1);
	test_gate_open(&second_may);
	done(b);
	CHECK(second);
	read_arms(0);
	teardown(mm);
}
TWIN(nobody_notes_what_another_one_arms, noted_anyway, BREAK(ARMING_TAG));

static struct test_gate reader_waits;

static void reader_begins_to_wait(uint64_t token)
{
	(void)token;
	test_gate_open(&reader_waits);
}

static pthread_t reader;
static bool reader_accepted;

/* Called before the lock is taken, the seq updated, and the state set: what a reader sees then is armed. */
static void read_meanwhile(struct consumer *consumer, const struct mmu_notifier_range *range)
{
	(void)range;
	consumer->hook = NULL;
	reader = go(read_once, &reader_accepted);
	test_gate_wait(&reader_waits);
}

/* A reader that has found the range armed, and waits for an invalidation that ends the watching, arms after the wait. */
TEST(a_reader_that_has_waited_arms)
{
	struct mrn_mm *mm = setup();

	read_arms(1);
	mrn_check_wait_hook = reader_begins_to_wait;
	c.hook = read_meanwhile;
	start_and_end(mm, 4, 8);
	done(reader);
	/* It began with the old seq. */
	CHECK(!reader_accepted);
	CHECK_EQ(watch.armings, 2);
	/* It had no tag, since the state was not unread when it began: the next one notes that it has armed. */
	read_arms(1);
	read_arms(0);
	teardown(mm);
}
TWIN(a_reader_that_has_waited_arms, takes_it_for_armed, BREAK(ARMING_WAITED));

/* ------------------------------------------------------------------------------- removal, and insertion again */

static struct test_gate arms, may_arm;

static void wait_in_arm(void)
{
	test_gate_open(&arms);
	test_gate_wait(&may_arm);
}

static void *remove_it(void *arg)
{
	consumer_remove(&c);
	return arg;
}

/* Otherwise it would arm what nobody disarms any more: watch_leaves looks. */
TEST(removal_waits_for_a_reader_that_arms)
{
	struct mrn_mm *mm = setup();
	pthread_t a, b;
	bool accepted;

	watch.hook = wait_in_arm;
	a = go(read_once, &accepted);
	test_gate_wait(&arms);
	b = go(remove_it, NULL);
	/* From then on it waits, or has gone on. */
	while (mmu_range_read_begin(&c.mrn))
		sched_yield();
	test_gate_open(&may_arm);
	done(a);
	done(b);
	CHECK_EQ(watch.leavings, 1);
	CHECK_EQ(mrn_source_process->tags, 0);
	destroy_idle(mm);
}

static void *read_for_error(void *error)
{
	uint64_t seq;

	*(int *)error = mrn_range_read_begin_until(&c.mrn, NULL, &seq);
	return NULL;
}

/* A2: of an insertion in another mm, which needs no watching, a reader of the former one notes nothing. */
TEST(a_reader_does_not_go_on_in_another_insertion)
{
	struct mrn_mm *mm = setup(), *second = new_mm();
	struct mmu_notifier_range r = pages(second, 4, 8);
	uint64_t seq;
	pthread_t t;
	int error;

	STORE(&watch.answer, -EAGAIN);
	t = go(read_for_error, &error);
	while (LOAD(&watch.armings) < 3)
		sched_yield();
	consumer_remove(&c);
	consumer_insert(&c, second, 4, 8);
	STORE(&watch.answer, 0);
	done(t);
	CHECK_ERR(error, -ENOENT);
	start(&r);
	CHECK_ERR(mrn_range_read_begin_until(&c.mrn, NULL, &seq), -EDEADLK);
	end(&r);
	consumer_check_works(&c);
	consumer_remove(&c);
	destroy_idle(second);
	destroy_idle(mm);
}

/* ------------------------------------------------------------------------------ what cannot be watched */

TEST(each_read_begins_anew_where_a_range_is_good_for_one_use)
{
	struct mrn_mm *mm = setup();
	uint64_t seq;

	watch.answer = MRN_USE_ONCE;
	/* Whatever its events are. */
	c.mrn.events = 1u << MMU_NOTIFY_MIGRATE;
	for (unsigned int i = 1; i <= 3; i++) {
		CHECK_ERR(mrn_range_read_begin_until(&c.mrn, NULL, &seq), MRN_USE_ONCE);
		CHECK_EQ(c.calls, i);
		CHECK(!consumer_has_shadow(&c));
		CHECK_EQ(c.last.cause, MRN_CAUSE_DETACH);
		CHECK(consumer_publish(&c, seq));
	}
	CHECK_EQ(watch.changes, 0);
	/* The shadow that nobody watched goes with the first read that is watched; and from then on it is kept. */
	watch.answer = 0;
	read_arms(2);
	CHECK_EQ(c.calls, 4);
	read_arms(0);
	CHECK_EQ(c.calls, 4);
	teardown(mm);
}
TWIN(each_read_begins_anew_where_a_range_is_good_for_one_use, kept, BREAK(ARMING_ONCE));
TWIN(each_read_begins_anew_where_a_range_is_good_for_one_use, kept_later, BREAK(ARMING_AGAIN));

static struct mmu_notifier_range other;
static bool other_has_ended;

static void *start_other(void *arg)
{
	start(&other);
	return arg;
}

static void other_starts(void)
{
	done(go(start_other, NULL));
}

static void end_other(uint64_t token)
{
	(void)token;
	mrn_check_wait_hook = NULL;
	other_has_ended = true;
	end(&other);
}

/* A2: an invalidation that begins after the first wait has called the notifier before the read's own does. */
TEST(a2_the_new_seq_is_no_invalidations_in_progress)
{
	struct mrn_mm *mm = setup();

	other = pages(mm, 4, 8);
	watch.answer = MRN_USE_ONCE;
	watch.hook = other_starts;
	mrn_check_wait_hook = end_other;
	CHECK(consumer_publish(&c, mmu_range_read_begin(&c.mrn)));
	CHECK(other_has_ended);
	teardown(mm);
}

#define READERS 3
#define READS	(TEST_TSAN ? 20 : 60)

/* Each reader's read and check take a while, so that two of them at once always collide. */
static void *read_for_long(void *arg)
{
	for (unsigned int accepted = 0; accepted < READS;) {
		uint64_t seq = mmu_range_read_begin(&c.mrn), until = test_now_ns() + 200000;

		while (test_now_ns() < until)
			sched_yield();
		accepted += consumer_publish(&c, seq);
	}
	return arg;
}

/* That they get there at all is the test. */
TEST(readers_of_what_is_good_for_one_use_all_get_their_turn)
{
	struct mrn_mm *mm = setup();
	pthread_t t[READERS];

	watch.answer = MRN_USE_ONCE;
	for (int i = 0; i < READERS; i++)
		t[i] = go(read_for_long, NULL);
	for (int i = 0; i < READERS; i++)
		done(t[i]);
	NOTE("%d reads of %d threads took %u callbacks", READS, READERS, c.calls);
	teardown(mm);
}

/* ----------------------------------------------------------------------------------------- errors */

TEST(what_arming_says_is_what_the_read_says)
{
	struct mrn_mm *mm = setup();
	struct timespec past = from_now(-1);
	uint64_t seq;

	watch.answer_first = -EAGAIN;
	read_arms(2);
	start_and_end(mm, 4, 8);
	watch.answer = -ENOTCONN;
	CHECK_ERR(mrn_range_read_begin_until(&c.mrn, NULL, &seq), -ENOTCONN);
	CHECK_EQ(mmu_range_read_begin(&c.mrn), 0);
	watch.answer = -EAGAIN;
	CHECK_ERR(mrn_range_read_begin_until(&c.mrn, &past, &seq), -ETIMEDOUT);
	CHECK_ERR(mrn_range_read_begin_until(&c.mrn, NULL, &seq), -EAGAIN);
	watch.answer = 0;
	read_arms(1);
	teardown(mm);
}

static struct consumer outer;

static void read_in_callback(struct consumer *consumer, const struct mmu_notifier_range *range)
{
	uint64_t seq;

	(void)consumer;
	(void)range;
	CHECK_ERR(mrn_range_read_begin_until(&c.mrn, NULL, &seq), watch.armings ? 0 : -EDEADLK);
}

/* It might have to wait for the thread that the callback is in. */
TEST(nothing_is_armed_in_a_callback)
{
	struct mrn_mm *mm = setup();

	consumer_init(&outer);
	outer.hook = read_in_callback;
	consumer_insert(&outer, mm, 10, 11);
	start_and_end(mm, 10, 11);
	CHECK_EQ(watch.armings, 0);
	read_arms(1);
	start_and_end(mm, 10, 11);
	CHECK_EQ(watch.armings, 1);
	consumer_remove(&outer);
	teardown(mm);
}
