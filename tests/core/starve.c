/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * P1: read_begin waits for the overlapping invalidations that it finds in progress, and for none
 * that starts later, however many come. Counted by the library's hook, not by the clock.
 */
#include "core/seq.h"
#include "tests/core/fixture.h"

/* ------------------------------------------------------------------------- one step at a time */

/*
 * The reader waits for the first token; while it does, a second one starts; then the first one
 * ends. The reader must return although the second never ends before it has.
 */
struct relay {
	struct mmu_notifier_range first, second;
	struct test_gate first_started, second_started, reader_done;
};
static struct relay relay;

static void *relay_first(void *arg)
{
	(void)arg;
	start(&relay.first);
	test_gate_open(&relay.first_started);
	test_gate_wait(&relay.second_started);
	end(&relay.first);
	return NULL;
}

static void *relay_second(void *arg)
{
	(void)arg;
	test_gate_wait(&waits.first);
	start(&relay.second);
	test_gate_open(&relay.second_started);
	test_gate_wait(&relay.reader_done);
	end(&relay.second);
	return NULL;
}

/* The hook is what notices, at once; the twin would otherwise wait for what waits for it. */
static void count_again(uint64_t token_seq)
{
	note_wait(token_seq);
	CHECK_EQ(waits.seq[0], token_seq);
}

static void later_token_is_not_waited_for(unsigned int slots)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range elsewhere = pages(mm, 50, 51);
	struct consumer c;
	pthread_t first, second;
	uint64_t seq;

	mrn_check_slots = slots;
	watch_waits();
	mrn_check_wait_hook = count_again;
	memset(&relay, 0, sizeof(relay));
	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	relay.first = pages(mm, 4, 5);
	relay.second = pages(mm, 5, 8);
	start(&elsewhere);
	first = go(relay_first, NULL);
	test_gate_wait(&relay.first_started);
	second = go(relay_second, NULL);
	seq = mmu_range_read_begin(&c.mrn);
	CHECK(waits.count > 0);
	test_gate_wait(&relay.second_started);
	CHECK(relay.second.seq != waits.seq[0]);
	/*
	 * The second one's callback has run: what this read found is old already, and it is told
	 * so.
	 */
	CHECK(!consumer_publish(&c, seq));
	test_gate_open(&relay.reader_done);
	done(first);
	done(second);
	end(&elsewhere);
	consumer_remove(&c);
	destroy_idle(mm);
}

TEST(p1_a_token_that_starts_later_is_not_waited_for)
{
	later_token_is_not_waited_for(MRN_TOKEN_SLOTS);
}

/* Three slots: the second token lies in the slot behind the first, where the reader comes by. */
TEST(p1_the_same_with_few_slots_and_in_the_overflow_list)
{
	later_token_is_not_waited_for(3);
	later_token_is_not_waited_for(2);
	later_token_is_not_waited_for(1);
}

TWIN(p1_a_token_that_starts_later_is_not_waited_for, later_tokens, BREAK(P1_LATER_TOKENS));

/* ------------------------------------------------------------------------------------- storms */

enum { READS = 2000 };

/* What one read_begin has waited for. Only the reader's thread calls the hook. */
static struct {
	struct mrn_mm *mm;
	unsigned int waits, most, total;
	int calls;
	unsigned int limit;
	uint64_t last; /* token waited for last; an overflow wait is taken up again and again */
	/* Of each slot, and of the overflow list, the last seq when the first wait began: the call was
	 * earlier still. And how many blocks of seqs had been drawn. */
	uint64_t bound[MRN_TOKEN_SLOTS + 1], blocks;
} read_;

static void note_bounds(struct mrn_mm *mm)
{
	for (unsigned int i = 0; i < MRN_TOKEN_SLOTS; i++)
		read_.bound[i] = LOAD(&mm->slot[i].seq);
	read_.bound[MRN_TOKEN_SLOTS] = LOAD(&mm->more_seq);
	read_.blocks = LOAD(&mrn_seq_blocks);
}

/* A slot has one block at a time: of a token that began later, the number is above its slot's, or its block is new. */
static bool began_before(uint64_t token_seq)
{
	uint64_t block = (token_seq - 1) / MRN_SEQ_BLOCK;

	for (unsigned int i = 0; i <= MRN_TOKEN_SLOTS; i++)
		if (read_.bound[i] && (read_.bound[i] - 1) / MRN_SEQ_BLOCK == block)
			return token_seq <= read_.bound[i];
	return block < read_.blocks;
}

static void check_wait(uint64_t token_seq)
{
	if (!read_.waits)
		note_bounds(read_.mm);
	CHECK(began_before(token_seq));
	if (token_seq == read_.last)
		return;
	read_.last = token_seq;
	read_.total++;
	if (++read_.waits > read_.most)
		read_.most = read_.waits;
	CHECK(read_.waits <= read_.limit);
}

static bool storm_over;
/* Storm threads that are at it. */
static unsigned int storming;

/* Other memory, as fast as it goes. */
static void *storm_elsewhere(void *mm)
{
	unsigned int *n = calloc(1, sizeof(*n));

	for (; !LOAD(&storm_over); ++*n) {
		start_and_end(mm, 100, 200);
		if (!*n)
			ADD(&storming, 1);
	}
	return n;
}

/* The reader's memory, back to back. */
static void *storm_here(void *mm)
{
	unsigned int *n = calloc(1, sizeof(*n));

	for (; !LOAD(&storm_over); ++*n) {
		start_and_end(mm, 4, 8);
		if (!*n)
			ADD(&storming, 1);
	}
	return n;
}

/*
 * Two threads take turns, so that at every moment at least one is between start and end: this one
 * ends its token when the other has started the next.
 */
static struct {
	struct mrn_mm *mm;
	uint32_t started; /* a futex */
	unsigned int from[2], to[2];
} turns;

static void *storm_in_turns(void *arg)
{
	uint32_t mine = (uint32_t)(uintptr_t)arg; /* 0, 2, 4 ... or 1, 3, 5 ... */
	unsigned int *n = calloc(1, sizeof(*n));

	for (;; mine += 2, ++*n) {
		struct mmu_notifier_range r =
			pages(turns.mm, turns.from[mine % 2], turns.to[mine % 2]);
		uint32_t s;

		/* Starts when the one before is in progress, and sees that one end. */
		while ((s = LOAD(&turns.started)) < mine && !LOAD(&storm_over))
			mrn_futex_wait(&turns.started, s, NULL);
		if (LOAD(&storm_over))
			return n;
		start(&r);
		STORE(&turns.started, mine + 1);
		mrn_futex_wake(&turns.started, INT_MAX);
		while ((s = LOAD(&turns.started)) < mine + 2 && !LOAD(&storm_over))
			mrn_futex_wait(&turns.started, s, NULL);
		end(&r);
		if (!*n)
			ADD(&storming, 1);
	}
}

static void storm_stop(pthread_t *threads, int n)
{
	unsigned int total = 0;
	void *count;

	STORE(&storm_over, true);
	ADD(&turns.started, 1u << 30);
	mrn_futex_wake(&turns.started, INT_MAX);
	for (int i = 0; i < n; i++) {
		CHECK_EQ(pthread_join(threads[i], &count), 0);
		total += *(unsigned int *)count;
		free(count);
	}
	NOTE("%u invalidations, %u waits, at most %u in one of %d calls", total, read_.total,
	     read_.most, read_.calls);
	CHECK(total > 0);
}

static void storm_init(struct mrn_mm *mm, unsigned int slots, unsigned int limit)
{
	mrn_check_slots = slots;
	memset(&read_, 0, sizeof(read_));
	read_.mm = mm;
	read_.limit = limit;
	mrn_check_wait_hook = check_wait;
	storm_over = false;
	storming = 0;
	memset(&turns, 0, sizeof(turns));
	turns.mm = mm;
}

static void storm_await(unsigned int threads)
{
	while (LOAD(&storming) < threads)
		sched_yield();
}

/* Two threads in turns, which overlap each other, on four pages from this one on. */
static void storm_turns(pthread_t t[2], unsigned int first)
{
	for (unsigned int i = 0; i < 2; i++) {
		turns.from[i] = first + i;
		turns.to[i] = first + i + 3;
	}
	for (uintptr_t i = 0; i < 2; i++)
		t[i] = go(storm_in_turns, (void *)i);
	storm_await(2);
}

/* At least READS calls, and as many as it takes to have met a hundred tokens. */
static void read_many(struct consumer *c)
{
	for (read_.calls = 0; read_.calls < ROUNDS(READS) || read_.total < 100; read_.calls++) {
		read_.waits = 0;
		CHECK(mmu_range_read_begin(&c->mrn) != 0);
	}
}

static void back_to_back(unsigned int slots)
{
	struct mrn_mm *mm = new_mm();
	struct consumer c;
	pthread_t t[2];

	storm_init(mm, slots, 1);
	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	t[0] = go(storm_elsewhere, mm);
	t[1] = go(storm_here, mm);
	storm_await(2);
	read_many(&c);
	storm_stop(t, 2);
	consumer_remove(&c);
	destroy_idle(mm);
}

TEST(p1_storm_back_to_back_with_one_elsewhere)
{
	back_to_back(MRN_TOKEN_SLOTS);
}

TEST(p1_storm_back_to_back_in_the_overflow_list)
{
	back_to_back(1);
}

/* There is never a moment without an overlapping invalidation, and two are the most at one time. */
static void never_a_gap(unsigned int slots)
{
	struct mrn_mm *mm = new_mm();
	struct consumer c;
	pthread_t t[2];

	storm_init(mm, slots, 2);
	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	storm_turns(t, 4);
	read_many(&c);
	storm_stop(t, 2);
	consumer_remove(&c);
	destroy_idle(mm);
}

TEST(p1_storm_without_a_gap)
{
	never_a_gap(MRN_TOKEN_SLOTS);
}

TEST(p1_storm_without_a_gap_in_the_overflow_list)
{
	never_a_gap(1);
}

TWIN(p1_storm_without_a_gap, later_tokens, BREAK(P1_LATER_TOKENS));

/*
 * Upstream's starvation: others' overlapping invalidations of memory that the reader does not read.
 */
TEST(p1_storm_elsewhere_costs_no_wait)
{
	struct mrn_mm *mm = new_mm();
	struct consumer c;
	pthread_t t[2];

	storm_init(mm, MRN_TOKEN_SLOTS, 0);
	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	storm_turns(t, 100);
	for (int i = 0; i < ROUNDS(READS) * 20; i++, read_.calls++) {
		uint64_t seq = mmu_range_read_begin(&c.mrn);

		CHECK(consumer_publish(&c, seq));
		if (i % 20 == 0)
			sched_yield();
	}
	storm_stop(t, 2);
	CHECK_EQ(read_.total, 0);
	consumer_remove(&c);
	destroy_idle(mm);
}

/* ----------------------------------------------------------------------------------- deadlines */

static void deadline_is_kept(unsigned int slots)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range elsewhere = pages(mm, 50, 51), r = pages(mm, 4, 5);
	struct timespec deadline = from_now(60);
	struct consumer c;
	struct reader reader = {.c = &c, .until = true, .deadline = &deadline, .seq = 77};
	int64_t late;

	mrn_check_slots = slots;
	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	start(&elsewhere);
	start(&r);
	reader_go(&reader);
	reader_done(&reader);
	late = ns_since(&deadline);
	CHECK_EQ(reader.result, -ETIMEDOUT);
	CHECK_EQ(reader.seq, 77);
	CHECK(late >= 0);
	CHECK(late < INT64_C(2000000000));

	/* One that has passed already. */
	reader_go(&reader);
	reader_done(&reader);
	CHECK_EQ(reader.result, -ETIMEDOUT);
	CHECK_EQ(reader.seq, 77);
	end(&r);

	/* What does not wait does not look at the time. */
	reader_go(&reader);
	reader_done(&reader);
	CHECK_EQ(reader.result, 0);
	CHECK(reader.passed);
	end(&elsewhere);
	consumer_remove(&c);
	destroy_idle(mm);
}

TEST(p1_deadline_is_kept)
{
	deadline_is_kept(MRN_TOKEN_SLOTS);
}

TEST(p1_deadline_is_kept_in_the_overflow_list)
{
	deadline_is_kept(1);
}

/* Nothing but errors from the kernel's clock; a loop that tries again would never notice. */
static void must_not_wait(uint64_t token_seq)
{
	(void)token_seq;
	CHECK(!"waits with a deadline that is no time");
}

static void *read_with_bad_deadline(void *arg)
{
	struct consumer *c = arg;
	static const struct timespec bad[] = {{1, 1000000000}, {1, -1}, {-1, 0}};
	uint64_t seq = 77;

	for (int i = 0; i < 3; i++) {
		int r = mrn_range_read_begin_until(&c->mrn, &bad[i], &seq);

		CHECK(r == -EINVAL || r == -ETIMEDOUT);
		CHECK_EQ(seq, 77);
	}
	return NULL;
}

TEST(p1_deadline_that_is_no_time_does_not_spin)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range r = pages(mm, 4, 5);
	struct consumer c;

	mrn_check_wait_hook = must_not_wait;
	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	start(&r);
	done(go(read_with_bad_deadline, &c));
	end(&r);
	consumer_remove(&c);
	destroy_idle(mm);
}
