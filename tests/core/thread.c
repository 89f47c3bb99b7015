/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * P4: what a thread may do to itself: start and end preserve errno, nest as deep as one likes, run
 * in parallel, and never wait for the thread's own token.
 */
#include "tests/core/fixture.h"

/* ---------------------------------------------------------------------------------------- errno */

static void change_errno(struct consumer *c, const struct mmu_notifier_range *range)
{
	(void)c;
	(void)range;
	errno = 77;
}

static int list_start_changes_errno(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	errno = 78;
	return mmu_notifier_range_blockable(range) ? 0 : -EAGAIN;
}

static void list_end_changes_errno(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	errno = 79;
}

TEST(p4_start_and_end_preserve_errno)
{
	static const struct mmu_notifier_ops ops = {
		.invalidate_range_start = list_start_changes_errno,
		.invalidate_range_end = list_end_changes_errno,
	};
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier quiet = {.ops = &ops}, refusing = {.ops = &ops};
	struct mmu_notifier_range r = pages(mm, 4, 5), bad = pages(mm, 4, 4);
	struct consumer c;

	consumer_init(&c);
	c.hook = change_errno;
	consumer_insert(&c, mm, 4, 8);
	CHECK_EQ(mmu_notifier_register(&quiet, mm), 0);
	CHECK_EQ(mmu_notifier_register(&refusing, mm), 0);
	for (int i = 0; i < 2; i++) {
		mrn_check_slots = i ? 1 : MRN_TOKEN_SLOTS;
		errno = 1234;
		start(&r);
		CHECK_EQ(errno, 1234);
		end(&r);
		CHECK_EQ(errno, 1234);
		CHECK_EQ(mmu_notifier_invalidate_range_start_nonblock(&r), -EAGAIN);
		CHECK_EQ(errno, 1234);
		CHECK_EQ(mmu_notifier_invalidate_range_start(&bad), -EINVAL);
		CHECK_EQ(errno, 1234);
		end(&bad);
		end(&r);
		CHECK_EQ(errno, 1234);
	}
	CHECK_EQ(c.calls, 4);
	CHECK_EQ(mmu_notifier_unregister(&quiet, mm), 0);
	CHECK_EQ(mmu_notifier_unregister(&refusing, mm), 0);
	consumer_remove(&c);
	destroy_idle(mm);
}

/* ---------------------------------------------------------------------------------- many tokens */

enum { DEEP = 70 };

/* Ends them in the order i * step mod DEEP. */
static void nest(unsigned int slots, unsigned int step)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range r[DEEP];
	struct consumer c;

	mrn_check_slots = slots;
	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	for (int i = 0; i < DEEP; i++) {
		r[i] = pages(mm, 4, 5);
		start(&r[i]);
		CHECK_EQ(r[i].slot < 0, i >= (int)slots);
		CHECK_EQ(c.last_seq, r[i].seq);
	}
	CHECK_EQ(c.calls, DEEP);
	for (unsigned int i = 0; i < DEEP; i++) {
		CHECK(mrn_tokens_overlap(mm, PAGE(4), PAGE(5)));
		CHECK(!mrn_tokens_overlap(mm, PAGE(5), PAGE(9)));
		end(&r[i * step % DEEP]);
	}
	check_idle(mm);
	consumer_check_works(&c);
	consumer_remove(&c);
	destroy_idle(mm);
}

TEST(p4_seventy_nested_starts_in_one_thread)
{
	static const unsigned int slots[] = {MRN_TOKEN_SLOTS, 2, 1};

	for (int i = 0; i < 3; i++) {
		nest(slots[i], 1);
		nest(slots[i], DEEP - 1);
		nest(slots[i], 27);
	}
}

struct parallel {
	struct mrn_mm *mm;
	struct test_rand seed;
};

static void *parallel_run(void *arg)
{
	struct parallel *p = arg;

	for (int i = 0; i < ROUNDS(20000); i++) {
		unsigned int depth = 1 + below(&p->seed, 4);
		struct mmu_notifier_range r[4];

		for (unsigned int d = 0; d < depth; d++) {
			unsigned int from = 1 + below(&p->seed, 10);

			r[d] = pages(p->mm, from, from + 1 + below(&p->seed, 10));
			start(&r[d]);
			CHECK(mrn_tokens_overlap(p->mm, r[d].start, r[d].end));
		}
		for (unsigned int d = 0; d < depth; d++)
			end(&r[d]);
	}
	return NULL;
}

TEST(p4_parallel_starts_in_many_threads)
{
	enum { THREADS = 6 };
	static const unsigned int slots[] = {MRN_TOKEN_SLOTS, 3};

	for (int s = 0; s < 2; s++) {
		struct mrn_mm *mm = new_mm();
		struct parallel p[THREADS];
		pthread_t t[THREADS];
		struct consumer c;

		mrn_check_slots = slots[s];
		consumer_init(&c);
		consumer_insert(&c, mm, 4, 8);
		for (int i = 0; i < THREADS; i++) {
			p[i] = (struct parallel){mm, rand_stream((uint64_t)i + 1)};
			t[i] = go(parallel_run, &p[i]);
		}
		for (int i = 0; i < THREADS; i++)
			done(t[i]);
		check_idle(mm);
		consumer_check_works(&c);
		consumer_remove(&c);
		destroy_idle(mm);
	}
}

/* ------------------------------------------------------------------------------------ own token */

static void own_token(unsigned int slots)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range elsewhere = pages(mm, 50, 51), r = pages(mm, 4, 5);
	struct timespec soon = from_now(100);
	struct consumer c;
	uint64_t seq = 77;

	mrn_check_slots = slots;
	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	start(&elsewhere);
	start(&r);
	/* The twin waits, and runs out of time instead. */
	CHECK_EQ(mrn_range_read_begin_until(&c.mrn, &soon, &seq), -EDEADLK);
	CHECK_EQ(mrn_range_read_begin_until(&c.mrn, NULL, &seq), -EDEADLK);
	CHECK_EQ(seq, 77);
	seq = mmu_range_read_begin(&c.mrn);
	CHECK_EQ(seq, 0);
	CHECK(mmu_range_check_retry(&c.mrn, seq));
	CHECK(!consumer_publish(&c, seq));
	end(&r);
	CHECK(!consumer_publish(&c, seq));
	consumer_check_works(&c);
	end(&elsewhere);
	consumer_remove(&c);
	destroy_idle(mm);
}

TEST(p4_own_token_is_not_waited_for)
{
	own_token(MRN_TOKEN_SLOTS);
}

TEST(p4_own_token_in_the_overflow_list_is_not_waited_for)
{
	own_token(1);
}

TWIN(p4_own_token_is_not_waited_for, own_token, BREAK(P4_OWN_TOKEN));

TWIN(p4_own_token_in_the_overflow_list_is_not_waited_for, own_token, BREAK(P4_OWN_TOKEN));

/* Left in progress by a thread that has ended: not the next thread's, which libc gives the same memory. */
static void *start_it(void *range)
{
	start(range);
	return NULL;
}

static void token_of_a_thread_that_has_ended(unsigned int slots)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range elsewhere = pages(mm, 50, 51), r = pages(mm, 4, 5);
	const struct timespec past = from_now(0);
	struct consumer c;

	mrn_check_slots = slots;
	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	start(&elsewhere);
	done(go(start_it, &r));
	for (int i = 0; i < 8; i++) {
		struct reader reader = {.c = &c, .until = true, .deadline = &past};

		reader_go(&reader);
		reader_done(&reader);
		CHECK_ERR(reader.result, -ETIMEDOUT);
	}
	end(&r);
	end(&elsewhere);
	consumer_check_works(&c);
	consumer_remove(&c);
	destroy_idle(mm);
}

TEST(p4_token_of_a_thread_that_has_ended_is_nobodys_own)
{
	token_of_a_thread_that_has_ended(MRN_TOKEN_SLOTS);
	token_of_a_thread_that_has_ended(1);
}

/* Inside a callback, about another notifier that the same token covers. */
static struct consumer *bystander;
static int inside_result;

static void read_inside(struct consumer *c, const struct mmu_notifier_range *range)
{
	uint64_t seq;

	(void)c;
	(void)range;
	inside_result = mrn_range_read_begin_until(&bystander->mrn, NULL, &seq);
	CHECK_EQ(mmu_range_read_begin(&bystander->mrn) == 0, inside_result == -EDEADLK);
}

TEST(p4_own_token_inside_a_callback)
{
	struct mrn_mm *mm = new_mm();
	struct consumer c, other;

	consumer_init(&c);
	consumer_init(&other);
	c.hook = read_inside;
	bystander = &other;
	consumer_insert(&c, mm, 4, 8);
	consumer_insert(&other, mm, 6, 9);
	start_and_end(mm, 4, 7);
	CHECK_EQ(inside_result, -EDEADLK);
	/* A token that does not cover it is in nobody's way. */
	start_and_end(mm, 4, 5);
	CHECK_EQ(inside_result, 0);
	consumer_remove(&c);
	consumer_remove(&other);
	destroy_idle(mm);
}

/* A start in one thread, its end in another; and a start from inside a callback. */
static void *end_it(void *range)
{
	end(range);
	return NULL;
}

static void start_elsewhere(struct consumer *c, const struct mmu_notifier_range *range)
{
	struct mrn_mm *mm = range->mm;

	c->hook = NULL;
	start_and_end(mm, 6, 9);
	CHECK(mrn_tokens_overlap(mm, range->start, range->end));
}

TEST(p4_start_inside_a_callback_and_end_in_another_thread)
{
	static const unsigned int slots[] = {MRN_TOKEN_SLOTS, 1};

	for (int i = 0; i < 2; i++) {
		struct mrn_mm *mm = new_mm();
		struct mmu_notifier_range r = pages(mm, 4, 5);
		struct consumer c, other;

		mrn_check_slots = slots[i];
		consumer_init(&c);
		consumer_init(&other);
		c.hook = start_elsewhere;
		consumer_insert(&c, mm, 4, 6);
		consumer_insert(&other, mm, 6, 9);
		start(&r);
		CHECK_EQ(c.calls, 1);
		CHECK_EQ(other.calls, 1);
		done(go(end_it, &r));
		check_idle(mm);
		consumer_check_works(&c);
		consumer_check_works(&other);
		consumer_remove(&c);
		consumer_remove(&other);
		destroy_idle(mm);
	}
}
