/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A6: a start that may not block, and that somebody refuses, has not happened: who was told that it
 * began is told that it ended, the token is gone, and whoever waited for it goes on.
 */
#include "tests/core/fixture.h"

enum { MOST = 5 };

struct listener {
	struct mmu_notifier mn;
	unsigned int started, ended;
	bool refuse;
};

static struct listener *listener_of(struct mmu_notifier *mn)
{
	return container_of(mn, struct listener, mn);
}

/* Called by who refuses, before it does. */
static void (*before_refusal)(void);

static int listener_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct listener *l = listener_of(mn);

	if (l->refuse && !mmu_notifier_range_blockable(range)) {
		if (before_refusal)
			before_refusal();
		return -EAGAIN;
	}
	l->started++;
	return 0;
}

static void listener_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)range;
	listener_of(mn)->ended++;
}

static void consumer_refuses(struct consumer *c, const struct mmu_notifier_range *range)
{
	(void)c;
	if (!mmu_notifier_range_blockable(range) && before_refusal)
		before_refusal();
}

struct stage {
	struct mrn_mm *mm;
	int ranges, lists;
	struct consumer c[MOST];
	struct listener l[MOST];
};

static void stage_init(struct stage *s, int ranges, int lists)
{
	static const struct mmu_notifier_ops ops = {
		.invalidate_range_start = listener_start,
		.invalidate_range_end = listener_end,
	};

	memset(s, 0, sizeof(*s));
	s->mm = new_mm();
	s->ranges = ranges;
	s->lists = lists;
	for (int i = 0; i < ranges; i++) {
		consumer_init(&s->c[i]);
		consumer_insert(&s->c[i], s->mm, 4 + (unsigned int)i, 20);
	}
	for (int i = 0; i < lists; i++) {
		s->l[i].mn.ops = &ops;
		CHECK_ERR(mmu_notifier_register(&s->l[i].mn, s->mm), 0);
	}
}

static void stage_destroy(struct stage *s)
{
	for (int i = 0; i < s->ranges; i++)
		consumer_remove(&s->c[i]);
	for (int i = 0; i < s->lists; i++)
		CHECK_ERR(mmu_notifier_unregister(&s->l[i].mn, s->mm), 0);
	destroy_idle(s->mm);
}

/* The n-th of all, ranges first, or nobody. */
static void stage_refuse(struct stage *s, int n, bool refuse)
{
	if (n < s->ranges) {
		s->c[n].refuse = refuse;
		s->c[n].hook = refuse ? consumer_refuses : NULL;
	} else {
		s->l[n - s->ranges].refuse = refuse;
	}
}

/* A thread that begins a read while the refusing callback runs, and so waits for its token. */
static struct reader *waiter;

static void let_wait(void)
{
	reader_go(waiter);
	test_gate_wait(&waits.first);
	await_sleep(&waiter->tid);
}

static void refuse_nth(int ranges, int lists, int n, unsigned int slots)
{
	struct stage s;
	struct consumer bystander;
	struct reader reader = {.c = &bystander};
	struct mmu_notifier_range r, elsewhere;

	mrn_check_slots = slots;
	watch_waits();
	stage_init(&s, ranges, lists);
	elsewhere = pages(s.mm, 50, 51);
	if (slots == 1)
		start(&elsewhere);
	/* Before all others, or behind: told of the token, or not yet. */
	consumer_init(&bystander);
	consumer_insert(&bystander, s.mm, n % 2 ? 3 : 19, 20);
	stage_refuse(&s, n, true);
	waiter = &reader;
	before_refusal = let_wait;
	r = pages(s.mm, 19, 20);
	for (int i = 0; i < s.lists; i++)
		s.l[i].started = s.l[i].ended = 0;

	CHECK_ERR(mmu_notifier_invalidate_range_start_nonblock(&r), -EAGAIN);

	/* Everyone has been told of as many ends as starts, and nothing is in progress. */
	for (int i = 0; i < s.lists; i++) {
		CHECK_EQ(s.l[i].started, i < n - ranges);
		CHECK_EQ(s.l[i].ended, s.l[i].started);
	}
	for (int i = 0; i < ranges; i++)
		CHECK_EQ(s.c[i].calls, i < n);
	CHECK(!mrn_tokens_overlap(s.mm, r.start, r.end));
	if (slots == 1)
		end(&elsewhere);
	for (int i = 0; i < s.lists; i++)
		s.l[i].started = s.l[i].ended = 0;
	/* The waiter is through, and its seq is good. */
	reader_done(&reader);
	CHECK(reader.passed);
	check_idle(s.mm);
	CHECK_EQ(waits.seq[0], waits.seq[(waits.count - 1) % 8]);
	/* end must not be called; called all the same, it does nothing. */
	end(&r);
	for (int i = 0; i < s.lists; i++)
		CHECK_EQ(s.l[i].ended, 0);

	/* Whoever may wait is not refused, and later nobody is. */
	before_refusal = NULL;
	for (int i = 0; i < 2; i++) {
		if (i == 0) {
			start(&r);
		} else {
			stage_refuse(&s, n, false);
			CHECK_ERR(mmu_notifier_invalidate_range_start_nonblock(&r), 0);
		}
		CHECK(mrn_tokens_overlap(s.mm, r.start, r.end));
		end(&r);
		check_idle(s.mm);
	}
	for (int i = 0; i < s.lists; i++) {
		CHECK_EQ(s.l[i].started, 2);
		CHECK_EQ(s.l[i].ended, s.l[i].started);
	}
	consumer_check_works(&bystander);
	consumer_remove(&bystander);
	stage_destroy(&s);
}

static void refuse_each(unsigned int slots)
{
	static const int counts[][2] = {{1, 0}, {0, 1}, {1, 1}, {4, 4}, {5, 2}, {0, 5}};

	for (unsigned int i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		for (int n = 0; n < counts[i][0] + counts[i][1]; n++)
			refuse_nth(counts[i][0], counts[i][1], n, slots);
}

TEST(a6_refusal_by_each_undoes_the_start)
{
	refuse_each(MRN_TOKEN_SLOTS);
}
TWIN(a6_refusal_by_each_undoes_the_start, list_not_ended, BREAK(A6_END_LIST));
TWIN(a6_refusal_by_each_undoes_the_start, token_stays, BREAK(A6_TOKEN));

TEST(a6_refusal_by_each_undoes_the_start_of_an_overflow_token)
{
	refuse_each(1);
}
TWIN(a6_refusal_by_each_undoes_the_start_of_an_overflow_token, token_stays, BREAK(A6_TOKEN));

/* The flag is start's to set, whatever was in it. */
TEST(a6_the_call_says_whether_callbacks_may_wait)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range r = pages(mm, 4, 5);
	struct consumer c;

	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	for (int i = 0; i < 4; i++) {
		if (i % 2)
			CHECK_ERR(mmu_notifier_invalidate_range_start_nonblock(&r), 0);
		else
			start(&r);
		CHECK_EQ(mmu_notifier_range_blockable(&c.last), i % 2 == 0);
		end(&r);
	}
	consumer_remove(&c);
	destroy_idle(mm);
}

/* A callback that refuses although it may wait is not believed: the start goes on. */
TEST(a6_a_blocking_start_cannot_be_refused)
{
	struct stage s;
	struct mmu_notifier_range r;

	stage_init(&s, 2, 2);
	r = pages(s.mm, 10, 11);
	for (int n = 0; n < 4; n++)
		stage_refuse(&s, n, true);
	start(&r);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(s.c[i].calls, 1);
		CHECK_EQ(s.l[i].started, 1);
	}
	end(&r);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(s.l[i].ended, 1);
	stage_destroy(&s);
}

/* ---------------------------------------------------------------------------------------- storm */

/* Refusals at random in several threads: all is even at the end. */
struct nonblock_thread {
	struct stage *s;
	struct test_rand rand;
	unsigned int refused, done;
};

/* Per thread, so that one's refusals are its own: owner carries the mask of who refuses. */
static int masked_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct listener *l = listener_of(mn);
	unsigned int mask = (unsigned int)(uintptr_t)range->owner;

	if (mask >> l->refuse & 1 && !mmu_notifier_range_blockable(range))
		return -EAGAIN;
	ADD(&l->started, 1);
	return 0;
}

static void masked_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)range;
	ADD(&listener_of(mn)->ended, 1);
}

static void *nonblock_run(void *arg)
{
	struct nonblock_thread *t = arg;

	for (int i = 0; i < ROUNDS(20000); i++) {
		struct mmu_notifier_range r = pages(t->s->mm, 5, 6);

		r.owner = (void *)(uintptr_t)below(&t->rand, 4);
		if (mmu_notifier_invalidate_range_start_nonblock(&r)) {
			t->refused++;
		} else {
			t->done++;
			end(&r);
		}
	}
	return NULL;
}

TEST(a6_storm_of_refusals_stays_even)
{
	enum { THREADS = 3 };
	static const struct mmu_notifier_ops ops = {
		.invalidate_range_start = masked_start,
		.invalidate_range_end = masked_end,
	};
	static const unsigned int slots[] = {MRN_TOKEN_SLOTS, 1};

	for (int k = 0; k < 2; k++) {
		struct nonblock_thread t[THREADS];
		unsigned int refused = 0, through = 0;
		pthread_t id[THREADS];
		struct stage s;

		mrn_check_slots = slots[k];
		stage_init(&s, 1, 0);
		s.lists = 4;
		for (int i = 0; i < 4; i++) {
			s.l[i].mn.ops = &ops;
			s.l[i].refuse = i % 2; /* the bit of owner that it looks at */
			CHECK_ERR(mmu_notifier_register(&s.l[i].mn, s.mm), 0);
		}
		for (unsigned int i = 0; i < THREADS; i++) {
			t[i] = (struct nonblock_thread){&s, rand_stream(i), 0, 0};
			id[i] = go(nonblock_run, &t[i]);
		}
		for (int i = 0; i < THREADS; i++) {
			done(id[i]);
			refused += t[i].refused;
			through += t[i].done;
		}
		check_idle(s.mm);
		for (int i = 0; i < 4; i++)
			CHECK_EQ(s.l[i].started, s.l[i].ended);
		CHECK_EQ(s.l[3].started, through);
		NOTE("%u refused, %u not", refused, through);
		stage_destroy(&s);
	}
}
