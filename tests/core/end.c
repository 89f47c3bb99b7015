/* SPDX-License-Identifier: BSD-3-Clause */
/* The end of an mm: who is told, what is refused from then on, and when its memory goes. */
#include "tests/core/fixture.h"
#include "os/peek.h"

struct listener {
	struct mmu_notifier mn;
	unsigned int released;
	unsigned int started, ended;
};

static struct listener *listener_of(struct mmu_notifier *mn)
{
	return container_of(mn, struct listener, mn);
}

static void listener_release(struct mmu_notifier *mn, struct mrn_mm *mm)
{
	CHECK(mm != NULL);
	ADD(&listener_of(mn)->released, 1);
}

static int listener_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	if (range->event == MMU_NOTIFY_RELEASE)
		listener_of(mn)->started++;
	return 0;
}

static void listener_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	if (range->event == MMU_NOTIFY_RELEASE)
		listener_of(mn)->ended++;
}

static const struct mmu_notifier_ops listener_ops = {
	.release = listener_release,
	.invalidate_range_start = listener_start,
	.invalidate_range_end = listener_end,
};

/* Is the page there? */
static bool is_mapped(const void *p)
{
	char byte;

	return !mrn_peek(&byte, (uintptr_t)p, 1);
}

static struct mmu_notifier *no_alloc(struct mrn_mm *mm)
{
	(void)mm;
	FAIL("alloc_notifier for an mm that has ended");
}

static void no_free(struct mmu_notifier *mn)
{
	(void)mn;
}

TEST(end_tells_everybody_and_refuses_afterwards)
{
	static const struct mmu_notifier_ops get_ops = {
		.alloc_notifier = no_alloc,
		.free_notifier = no_free,
	};
	struct timespec past = from_now(0);
	struct mrn_mm *mm = new_mm();
	struct listener l = {.mn.ops = &listener_ops}, late = {.mn.ops = &listener_ops};
	struct mmu_notifier *got = NULL;
	struct consumer c, masked, newcomer;
	uint64_t seq, none = 77;

	consumer_init(&c);
	consumer_init(&masked);
	consumer_init(&newcomer);
	masked.mrn.events = 1u << MMU_NOTIFY_PROTECTION_VMA;
	consumer_insert(&c, mm, 4, 8);
	consumer_insert(&masked, mm, 4, 8);
	CHECK_ERR(mmu_notifier_register(&l.mn, mm), 0);
	consumer_check_works(&c);
	seq = mmu_range_read_begin(&c.mrn);

	CHECK_ERR(mrn_mm_destroy(mm), 0);

	/* Told, whatever the mask; and what had been read before collides. */
	CHECK_EQ(c.calls, 1);
	CHECK_EQ(masked.calls, 1);
	CHECK_EQ(c.last.event, MMU_NOTIFY_RELEASE);
	CHECK_EQ(c.last.start, 0);
	CHECK_EQ(c.last.end, UINTPTR_MAX);
	CHECK(mmu_notifier_range_blockable(&c.last));
	CHECK(!consumer_has_shadow(&c));
	CHECK(!consumer_publish(&c, seq));
	CHECK_EQ(l.released, 1);
	CHECK_EQ(l.started, 1);
	CHECK_EQ(l.ended, 1);

	/* The notifiers keep the memory, so asking is allowed. */
	CHECK(is_mapped(mm));
	CHECK_ERR(mrn_range_read_begin_until(&c.mrn, NULL, &none), -ESRCH);
	CHECK_ERR(mrn_range_read_begin_until(&c.mrn, &past, &none), -ESRCH);
	CHECK_EQ(none, 77);
	seq = mmu_range_read_begin(&c.mrn);
	CHECK_EQ(seq, 0);
	CHECK(mmu_range_check_retry(&c.mrn, seq));
	CHECK(!consumer_publish(&c, seq));
	CHECK_ERR(mmu_range_notifier_insert(&newcomer.mrn, PAGE(4), PAGE(4), mm), -ESRCH);
	CHECK_ERR(mmu_range_notifier_remove(&newcomer.mrn), -ENOENT);
	CHECK_ERR(mmu_notifier_register(&late.mn, mm), -ESRCH);
	CHECK_ERR(mmu_notifier_unregister(&late.mn, mm), -ENOENT);
	CHECK_ERR(mmu_notifier_get(&get_ops, mm, &got), -ESRCH);

	/* The last to go takes the mm along. */
	CHECK_ERR(mmu_notifier_unregister(&l.mn, mm), 0);
	CHECK_EQ(l.released, 1);
	consumer_remove(&c);
	CHECK(is_mapped(mm));
	consumer_remove(&masked);
	CHECK(!is_mapped(mm));
	CHECK_ERR(mmu_range_notifier_remove(&masked.mrn), -ENOENT);
	/* And what it leaves can be used again. */
	mm = new_mm();
	consumer_insert(&c, mm, 4, 8);
	consumer_check_works(&c);
	consumer_remove(&c);
	destroy_idle(mm);
}

TEST(end_of_an_mm_without_notifiers_frees_it)
{
	struct mrn_mm *mm = new_mm();

	start_and_end(mm, 1, 2);
	CHECK(is_mapped(mm));
	CHECK_ERR(mrn_mm_destroy(mm), 0);
	CHECK(!is_mapped(mm));
}

TEST(end_release_comes_once_with_unregister)
{
	struct mrn_mm *mm = new_mm();
	struct listener l = {.mn.ops = &listener_ops};

	CHECK_ERR(mmu_notifier_register(&l.mn, mm), 0);
	CHECK_ERR(mmu_notifier_unregister(&l.mn, mm), 0);
	CHECK_EQ(l.released, 1);
	/* Registered anew, it is released anew. */
	CHECK_ERR(mmu_notifier_register(&l.mn, mm), 0);
	CHECK_EQ(l.released, 1);
	CHECK_ERR(mmu_notifier_unregister(&l.mn, mm), 0);
	CHECK_EQ(l.released, 2);
	destroy_idle(mm);
	CHECK_EQ(l.released, 2);
}

/*
 * unregister in one thread, the end in another: release comes once, and before unregister returns.
 */
static struct {
	struct test_barrier round;
	struct listener l;
	struct mrn_mm *mm;
	int rounds;
} race;

static void *unregister_each_round(void *arg)
{
	(void)arg;
	for (int i = 0; i < race.rounds; i++) {
		test_barrier_wait(&race.round);
		CHECK_ERR(mmu_notifier_unregister(&race.l.mn, race.mm), 0);
		CHECK_EQ(LOAD(&race.l.released), 1);
		test_barrier_wait(&race.round);
	}
	return NULL;
}

TEST(end_races_unregister)
{
	pthread_t t;
	unsigned int by_the_end = 0;

	race.rounds = ROUNDS(4000);
	test_barrier_init(&race.round, 2);
	t = go(unregister_each_round, NULL);
	for (int i = 0; i < race.rounds; i++) {
		memset(&race.l, 0, sizeof(race.l));
		race.l.mn.ops = &listener_ops;
		race.mm = new_mm();
		CHECK_ERR(mmu_notifier_register(&race.l.mn, race.mm), 0);
		test_barrier_wait(&race.round);
		CHECK_ERR(mrn_mm_destroy(race.mm), 0);
		test_barrier_wait(&race.round);
		CHECK_EQ(race.l.released, 1);
		CHECK(race.l.ended <= race.l.started);
		by_the_end += race.l.started;
		/* The listener and the caller were the only ones to keep it. */
		CHECK(!is_mapped(race.mm));
	}
	done(t);
	NOTE("the end came first %u times of %d", by_the_end, race.rounds);
}

/* ---------------------------------------------------------------------- release in an unregister */

/* A driver that takes down what it has in release, and takes its time. */
static struct {
	struct mmu_notifier mn;
	struct mrn_mm *mm;
	struct test_gate in_release, leave;
	unsigned int told;
	int tid;
	bool has_shadow;
} slow;

static void slow_release(struct mmu_notifier *mn, struct mrn_mm *mm)
{
	(void)mn;
	(void)mm;
	test_gate_open(&slow.in_release);
	test_gate_wait(&slow.leave);
	STORE(&slow.has_shadow, false);
}

static int slow_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	slow.told += range->event != MMU_NOTIFY_RELEASE;
	return 0;
}

static void *unregister_slow(void *result)
{
	*(int *)result = mmu_notifier_unregister(&slow.mn, slow.mm);
	return NULL;
}

static pthread_t begin_slow_release(int *result)
{
	static const struct mmu_notifier_ops ops = {.release = slow_release,
						    .invalidate_range_start = slow_start};
	pthread_t t;

	memset(&slow, 0, sizeof(slow));
	slow.mn.ops = &ops;
	slow.has_shadow = true;
	slow.mm = new_mm();
	CHECK_ERR(mmu_notifier_register(&slow.mn, slow.mm), 0);
	t = go(unregister_slow, result);
	test_gate_wait(&slow.in_release);
	return t;
}

/* Until release has returned, it has its shadow, and so must be told. */
TEST(a1_a_notifier_is_told_until_its_release_has_returned)
{
	int result;
	pthread_t t = begin_slow_release(&result);

	start_and_end(slow.mm, 4, 8);
	CHECK_EQ(slow.told, 1);
	test_gate_open(&slow.leave);
	done(t);
	CHECK_ERR(result, 0);
	start_and_end(slow.mm, 4, 8);
	CHECK_EQ(slow.told, 1);
	destroy_idle(slow.mm);
}
TWIN(a1_a_notifier_is_told_until_its_release_has_returned, not_told, BREAK(A1_RELEASE));

static void *end_slow(void *arg)
{
	(void)arg;
	STORE(&slow.tid, my_tid());
	CHECK_ERR(mrn_mm_destroy(slow.mm), 0);
	CHECK(!LOAD(&slow.has_shadow));
	return NULL;
}

/* Whoever ends the mm frees its memory next. */
TEST(a1_the_end_waits_for_a_release_in_unregister)
{
	int result;
	pthread_t t = begin_slow_release(&result), ender = go(end_slow, NULL);

	await_sleep(&slow.tid);
	test_gate_open(&slow.leave);
	done(ender);
	done(t);
	CHECK_ERR(result, 0);
}
TWIN(a1_the_end_waits_for_a_release_in_unregister, no_wait, BREAK(A1_OTHERS_RELEASE));

static void *unregister_slow_too(void *result);

/* The mm's end runs release, which may take its time; and others still announce. */
TEST(a1_a_notifier_is_told_during_a_release_of_the_mms_end)
{
	static const struct mmu_notifier_ops ops = {.release = slow_release,
						    .invalidate_range_start = slow_start};
	pthread_t ender, t;
	int result;

	memset(&slow, 0, sizeof(slow));
	slow.mn.ops = &ops;
	slow.has_shadow = true;
	slow.mm = new_mm();
	mrn_mm_get(slow.mm);
	CHECK_ERR(mmu_notifier_register(&slow.mn, slow.mm), 0);
	ender = go(end_slow, NULL);
	test_gate_wait(&slow.in_release);
	STORE(&slow.tid, 0);
	t = go(unregister_slow_too, &result);
	await_sleep(&slow.tid);
	start_and_end(slow.mm, 4, 8);
	CHECK_EQ(slow.told, 1);
	test_gate_open(&slow.leave);
	done(ender);
	done(t);
	CHECK_ERR(result, 0);
	mrn_mm_put(slow.mm);
}
TWIN(a1_a_notifier_is_told_during_a_release_of_the_mms_end, not_told, BREAK(A1_OTHERS_RELEASE));

static void *unregister_slow_too(void *result)
{
	STORE(&slow.tid, my_tid());
	*(int *)result = mmu_notifier_unregister(&slow.mn, slow.mm);
	return NULL;
}

/* A driver that does so is wrong, and is told; the notifier goes once. */
TEST(end_two_threads_unregister)
{
	int first, second;
	pthread_t a = begin_slow_release(&first), b = go(unregister_slow_too, &second);

	await_sleep(&slow.tid);
	test_gate_open(&slow.leave);
	done(a);
	done(b);
	CHECK_EQ(first + second, -ENOENT);
	CHECK(!first || !second);
	destroy_idle(slow.mm);
}

/*
 * Readers and removers at work while the mm ends: nobody hangs, and nothing is published after it.
 */
static void *read_until_the_end(void *arg)
{
	struct consumer *c = arg;
	uint64_t seq;
	int r;

	while ((r = mrn_range_read_begin_until(&c->mrn, NULL, &seq)) == 0)
		consumer_publish(c, seq);
	CHECK_ERR(r, -ESRCH);
	CHECK(!consumer_publish(c, mmu_range_read_begin(&c->mrn)));
	consumer_remove(c);
	/* Gone before the end came round to it, it was not told. */
	CHECK(!c->shadow || !c->calls);
	return NULL;
}

TEST(end_while_others_read)
{
	enum { N = 3 };

	for (int i = 0; i < ROUNDS(200); i++) {
		struct mrn_mm *mm = new_mm();
		struct consumer c[N];
		pthread_t t[N];

		for (int k = 0; k < N; k++) {
			consumer_init(&c[k]);
			consumer_insert(&c[k], mm, 4, 8);
			t[k] = go(read_until_the_end, &c[k]);
		}
		while (!consumer_has_shadow(&c[0]))
			sched_yield();
		CHECK_ERR(mrn_mm_destroy(mm), 0);
		for (int k = 0; k < N; k++)
			done(t[k]);
		CHECK(!is_mapped(mm));
	}
}

/* Asynchronous removals that are pending when the mm ends are done by it. */
static unsigned int freed;

static void count_free(struct mmu_range_notifier *mrn)
{
	(void)mrn;
	freed++;
}

static void remove_self(struct consumer *c, const struct mmu_notifier_range *range)
{
	(void)range;
	CHECK_ERR(mrn_range_notifier_remove_async(&c->mrn, count_free), 0);
}

TEST(end_frees_what_was_removed_asynchronously)
{
	struct mrn_mm *mm = new_mm();
	struct consumer before, inside;

	consumer_init(&before);
	consumer_init(&inside);
	consumer_insert(&before, mm, 1, 2);
	consumer_insert(&inside, mm, 4, 8);
	inside.hook = remove_self; /* when told of RELEASE */
	CHECK_ERR(mrn_range_notifier_remove_async(&before.mrn, count_free), 0);
	CHECK_ERR(mrn_mm_destroy(mm), 0);
	CHECK_EQ(freed, 2);
	CHECK_EQ(inside.calls, 1);
	CHECK_EQ(before.calls, 0);
	CHECK(!is_mapped(mm));
}
