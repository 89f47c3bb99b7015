/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A1, A2, A4: what start promises to those who have built, and read_begin to those who will. One step
 * at a time; core_model.c has everybody at once.
 */
#include "tests/core/fixture.h"

/* ------------------------------------------------------------------------------------------- A1 */

static void start_tears_down(unsigned int slots)
{
	struct mrn_mm *mm = new_mm();
	struct consumer c, other;
	struct mmu_notifier_range r = pages(mm, 5, 6);
	uint64_t seq, seq_other;

	mrn_check_slots = slots;
	consumer_init(&c);
	consumer_init(&other);
	consumer_insert(&c, mm, 4, 8);
	consumer_insert(&other, mm, 8, 9);
	consumer_check_works(&c);
	consumer_check_works(&other);
	seq = mmu_range_read_begin(&c.mrn);
	seq_other = mmu_range_read_begin(&other.mrn);

	start(&r);
	/* Published before: torn down. Read before: not to be published, now or after end. */
	CHECK(!consumer_has_shadow(&c));
	CHECK_EQ(c.calls, 1);
	CHECK_EQ(c.last_seq, r.seq);
	CHECK(mmu_range_check_retry(&c.mrn, seq));
	CHECK(!consumer_publish(&c, seq));
	/* Untouched memory keeps what it has. */
	CHECK(consumer_has_shadow(&other));
	CHECK_EQ(other.calls, 0);
	CHECK(consumer_publish(&other, seq_other));
	end(&r);

	CHECK(!consumer_publish(&c, seq));
	CHECK(!consumer_has_shadow(&c));
	consumer_check_works(&c);
	consumer_remove(&c);
	consumer_remove(&other);
	destroy_idle(mm);
}

TEST(a1_start_tears_down_and_rejects_older_reads)
{
	start_tears_down(MRN_TOKEN_SLOTS);
	start_tears_down(1);
}

TWIN(a1_start_tears_down_and_rejects_older_reads, calls_nobody, BREAK(A1_CALLBACKS));

/* Every notifier that overlaps is called once, and no other: against plain arithmetic. */
TEST(a1_exactly_the_overlapping_are_called)
{
	enum { N = 60, LIMIT = 40 };
	static struct consumer c[N];
	unsigned int from[N], to[N], expected[N] = {0};
	struct mrn_mm *mm = new_mm();
	struct test_rand seed = rand_stream(1);

	for (int i = 0; i < N; i++) {
		from[i] = 1 + below(&seed, LIMIT);
		to[i] = from[i] + 1 + below(&seed, i % 3 ? 4 : LIMIT);
		consumer_init(&c[i]);
		consumer_insert(&c[i], mm, from[i], to[i]);
	}
	CHECK(mrn_index_is_valid(&mm->index));
	for (int round = 0; round < 2000; round++) {
		unsigned int a = 1 + below(&seed, LIMIT), b = a + 1 + below(&seed, 6);

		start_and_end(mm, a, b);
		for (int i = 0; i < N; i++) {
			expected[i] += from[i] < b && to[i] > a;
			CHECK_EQ(c[i].calls, expected[i]);
		}
	}
	for (int i = 0; i < N; i++)
		consumer_remove(&c[i]);
	destroy_idle(mm);
}

/* A range counts in bytes, a notifier in pages: one byte of the page is enough, the next is not. */
TEST(a1_one_byte_overlaps)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range r;
	struct consumer c;

	consumer_init(&c);
	/* Three bytes, around a page boundary: two pages. */
	CHECK_EQ(mmu_range_notifier_insert(&c.mrn, PAGE(5) - 1, 3, mm), 0);
	static const struct {
		int from_page, from_byte, to_page, to_byte;
		bool hit;
	} cases[] = {
		{3, 0, 4, 0, false}, {3, 0, 4, 1, true},  {4, 0, 4, 1, true},  {5, -1, 5, 0, true},
		{5, 0, 5, 1, true},  {6, -1, 6, 0, true}, {6, 0, 6, 1, false}, {1, 0, 100, 0, true},
	};
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned int before = c.calls;

		mmu_notifier_range_init(&r, MMU_NOTIFY_CLEAR, 0, mm,
					PAGE(cases[i].from_page) + (uintptr_t)cases[i].from_byte,
					PAGE(cases[i].to_page) + (uintptr_t)cases[i].to_byte);
		start(&r);
		CHECK_EQ(c.calls - before, cases[i].hit);
		CHECK_EQ(mrn_tokens_overlap(mm, PAGE(4), PAGE(6)), cases[i].hit);
		end(&r);
	}
	consumer_remove(&c);
	destroy_idle(mm);
}

/* ------------------------------------------------------------------------------------------- A2 */

static void read_waits_for_end(unsigned int slots)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range r = pages(mm, 4, 5), elsewhere = pages(mm, 50, 51);
	struct consumer c;
	bool ended = false;
	struct reader reader = {.c = &c, .ended = &ended};

	mrn_check_slots = slots;
	watch_waits();
	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	start(&elsewhere); /* in the way of nobody, but of the slot when there is one only */
	start(&r);
	reader_go(&reader);
	test_gate_wait(&waits.first);
	await_sleep(&reader.tid);
	CHECK(!LOAD(&reader.begun));
	STORE(&ended, true);
	end(&r);
	reader_done(&reader);
	/* The callback had run before the read began: nothing has happened since. */
	CHECK_EQ(reader.seq, c.last_seq);
	CHECK(reader.passed);
	CHECK_EQ(waits.count, 1);
	end(&elsewhere);
	consumer_remove(&c);
	destroy_idle(mm);
}

TEST(a2_read_begin_waits_for_end)
{
	read_waits_for_end(MRN_TOKEN_SLOTS);
}

TEST(a2_read_begin_waits_for_end_of_an_overflow_token)
{
	read_waits_for_end(1);
}

TWIN(a2_read_begin_waits_for_end, no_wait, BREAK(A2_WAIT));

TWIN(a2_read_begin_waits_for_end, early_end, BREAK(A4_EARLY_END));
TWIN(a2_read_begin_waits_for_end_of_an_overflow_token, no_wait, BREAK(A2_WAIT));

static void read_does_not_wait_elsewhere(unsigned int slots)
{
	struct mrn_mm *mm = new_mm(), *other = new_mm();
	struct mmu_notifier_range before = pages(mm, 1, 4), after = pages(mm, 8, 90),
				  other_mm = pages(other, 4, 8);
	struct consumer c;
	uint64_t seq, until;

	mrn_check_slots = slots;
	watch_waits();
	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	start(&before);
	start(&after);
	start(&other_mm);
	/* Not even for this thread's own. */
	seq = mmu_range_read_begin(&c.mrn);
	CHECK_EQ(mrn_range_read_begin_until(&c.mrn, NULL, &until), 0);
	CHECK_EQ(seq, until);
	CHECK(consumer_publish(&c, seq));
	CHECK_EQ(waits.count, 0);
	CHECK_EQ(c.calls, 0);
	end(&before);
	end(&after);
	end(&other_mm);
	consumer_remove(&c);
	destroy_idle(mm);
	destroy_idle(other);
}

TEST(a2_read_begin_waits_for_nothing_else)
{
	read_does_not_wait_elsewhere(MRN_TOKEN_SLOTS);
	read_does_not_wait_elsewhere(2);
	read_does_not_wait_elsewhere(1);
}

/* A thread that starts an invalidation, and ends it when told. */
struct holder {
	struct mmu_notifier_range range;
	struct test_gate started, stop;
	pthread_t thread;
};

static void *hold(void *arg)
{
	struct holder *h = arg;

	start(&h->range);
	test_gate_open(&h->started);
	test_gate_wait(&h->stop);
	end(&h->range);
	return NULL;
}

static void holder_go(struct holder *h, struct mrn_mm *mm, unsigned int from, unsigned int to)
{
	memset(h, 0, sizeof(*h));
	h->range = pages(mm, from, to);
	h->thread = go(hold, h);
	test_gate_wait(&h->started);
}

/* Several at once, of several threads and nested in one: the read waits for the last of them. */
static void read_waits_for_all(unsigned int slots, const unsigned int order[3])
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range inner;
	struct holder h[2];
	struct consumer c;
	bool ended = false;
	struct reader reader = {.c = &c, .ended = &ended};

	mrn_check_slots = slots;
	watch_waits();
	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	holder_go(&h[0], mm, 1, 5);
	holder_go(&h[1], mm, 7, 9);
	inner = pages(mm, 5, 6);
	start(&inner);
	reader_go(&reader);
	test_gate_wait(&waits.first);
	for (int i = 0; i < 3; i++) {
		/* Asleep in a wait again, or for the first time; and it has not got through. */
		await_sleep(&reader.tid);
		CHECK(!LOAD(&reader.begun));
		if (i == 2)
			STORE(&ended, true);
		if (order[i] == 2) {
			end(&inner);
		} else {
			test_gate_open(&h[order[i]].stop);
			done(h[order[i]].thread);
		}
	}
	reader_done(&reader);
	CHECK(reader.passed);
	consumer_remove(&c);
	destroy_idle(mm);
}

TEST(a2_read_begin_waits_for_parallel_and_nested)
{
	static const unsigned int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
						  {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
	static const unsigned int slots[] = {MRN_TOKEN_SLOTS, 2, 1};

	for (int s = 0; s < 3; s++)
		for (int i = 0; i < 6; i++)
			read_waits_for_all(slots[s], orders[i]);
}

/* A callback comes while a read that began earlier is on its way: it collides, and only once. */
TEST(a2_a_later_start_collides)
{
	struct mrn_mm *mm = new_mm();
	struct consumer c;

	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	for (int i = 0; i < 100; i++) {
		uint64_t seq = mmu_range_read_begin(&c.mrn), again;

		start_and_end(mm, 4, 5);
		CHECK(mmu_range_check_retry(&c.mrn, seq));
		CHECK(!consumer_publish(&c, seq));
		again = mmu_range_read_begin(&c.mrn);
		CHECK(again != seq);
		CHECK(!mmu_range_check_retry(&c.mrn, again));
		CHECK(consumer_publish(&c, again));
	}
	consumer_remove(&c);
	destroy_idle(mm);
}

/* Two starts whose callbacks get the driver lock in the other order: no seq comes back. */
TEST(a2_callbacks_out_of_order_never_repeat_a_seq)
{
	struct mrn_mm *mm = new_mm();
	struct test_gate entered = {0}, leave = {0};
	struct consumer c;
	struct holder h = {0};
	struct mmu_notifier_range second;
	uint64_t before, first_seq;

	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	before = mmu_range_read_begin(&c.mrn);
	c.entered = &entered;
	c.leave = &leave;
	h.range = pages(mm, 4, 5);
	h.thread = go(hold, &h);
	test_gate_wait(&entered);
	/* The first start sits in its callback; the second overtakes it. */
	c.entered = NULL;
	c.leave = NULL;
	second = pages(mm, 5, 6);
	start(&second);
	CHECK_EQ(c.last_seq, second.seq);
	test_gate_open(&leave);
	test_gate_wait(&h.started);
	first_seq = h.range.seq;
	CHECK(first_seq < second.seq);
	CHECK_EQ(c.last_seq, first_seq);
	CHECK(!consumer_would_pass(&c, before));
	CHECK(!consumer_would_pass(&c, second.seq));
	end(&second);
	test_gate_open(&h.stop);
	done(h.thread);
	consumer_check_works(&c);
	consumer_remove(&c);
	destroy_idle(mm);
}

/* ------------------------------------------------------------------------------------------- A4 */

static struct {
	struct mrn_mm *mm;
	unsigned int changes; /* plain: only the protocol orders the readers with who changes it */
	bool stop;
} plain;

static void *read_plain(void *arg)
{
	struct consumer c;
	unsigned int seen = 0;

	consumer_init(&c);
	consumer_insert(&c, plain.mm, 4, 8);
	while (!LOAD(&plain.stop)) {
		uint64_t seq = mmu_range_read_begin(&c.mrn);

		pthread_mutex_lock(&c.lock);
		if (!mmu_range_read_retry(&c.mrn, seq)) {
			CHECK(plain.changes >= seen);
			seen = plain.changes;
		}
		pthread_mutex_unlock(&c.lock);
	}
	consumer_remove(&c);
	return NULL;
}

/*
 * A reader that is told that nothing is in progress, wherever in read_begin it learns that, sees what was
 * changed before. A processor that keeps loads in order cannot show the lack of it; ThreadSanitizer does.
 */
TEST(a4_readers_see_what_was_changed)
{
	pthread_t t[2];

	plain.mm = new_mm();
	for (int i = 0; i < 2; i++)
		t[i] = go(read_plain, NULL);
	for (unsigned int i = 0; i < 200000; i++) {
		struct mmu_notifier_range r = pages(plain.mm, 5, 6);

		start(&r);
		plain.changes++;
		end(&r);
	}
	STORE(&plain.stop, true);
	for (int i = 0; i < 2; i++)
		done(t[i]);
	destroy_idle(plain.mm);
}

/* ------------------------------------------------------------------------------ more than one mm */

/* The seqs that a notifier has by turns: of its insertion, and of tokens in a slot and in the overflow list. */
static void note_seqs(struct mrn_mm *mm, struct consumer *c, uint64_t *seq)
{
	consumer_insert(c, mm, 4, 8);
	*seq++ = mmu_range_read_begin(&c->mrn);
	for (unsigned int slots = 1; slots <= 2; slots++) {
		struct mmu_notifier_range elsewhere = pages(mm, 50, 51);

		mrn_check_slots = slots;
		start(&elsewhere);
		start_and_end(mm, 4, 5);
		*seq++ = c->last_seq;
		end(&elsewhere);
	}
	consumer_remove(c);
}

TEST(a1_a_seq_of_one_mm_is_rejected_in_another)
{
	enum { MMS = 4, EACH = 3 };
	uint64_t seq[MMS * EACH];
	struct consumer c;

	consumer_init(&c);
	for (int m = 0; m < MMS; m++) {
		struct mrn_mm *mm = new_mm();

		note_seqs(mm, &c, &seq[m * EACH]);
		consumer_insert(&c, mm, 4, 8);
		/* Not taken for its former self, here or there. */
		for (int i = 0; i < (m + 1) * EACH; i++)
			CHECK(!consumer_would_pass(&c, seq[i]));
		consumer_remove(&c);
		destroy_idle(mm);
	}
	for (int i = 0; i < MMS * EACH; i++)
		for (int k = 0; k < i; k++)
			CHECK(seq[i] != seq[k]);
}
TWIN(a1_a_seq_of_one_mm_is_rejected_in_another, insertions, BREAK(SEQ_PROCESS));

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

struct drawer {
	struct mrn_mm *mm[2];
	uint64_t *seq;
	unsigned int n;
};

/* By turns in two mms, so that each slot goes through several blocks of numbers. */
static void *draw_many(void *arg)
{
	struct drawer *d = arg;

	for (unsigned int i = 0; i < d->n; i++) {
		struct mmu_notifier_range r = pages(d->mm[i % 2], 4, 5);

		start(&r);
		d->seq[i] = r.seq;
		end(&r);
	}
	return NULL;
}

TEST(a1_no_seq_comes_twice)
{
	enum { THREADS = 3 };
	const unsigned int n = ROUNDS(40000);
	uint64_t *seq = calloc((size_t)n * THREADS, sizeof(*seq));
	struct mrn_mm *mm[] = {new_mm(), new_mm()};
	struct drawer d[THREADS];
	pthread_t t[THREADS];

	CHECK(seq != NULL);
	/* One slot: the others' tokens are in the overflow list whenever two meet. */
	mrn_check_slots = 1;
	for (int i = 0; i < THREADS; i++) {
		d[i] = (struct drawer){{mm[0], mm[1]}, seq + (size_t)i * n, n};
		t[i] = go(draw_many, &d[i]);
	}
	for (int i = 0; i < THREADS; i++)
		done(t[i]);
	qsort(seq, (size_t)n * THREADS, sizeof(*seq), by_number);
	CHECK(seq[0] != 0);
	for (size_t i = 1; i < (size_t)n * THREADS; i++)
		CHECK(seq[i - 1] != seq[i]);
	free(seq);
	destroy_idle(mm[0]);
	destroy_idle(mm[1]);
}

/* -------------------------------------------------- a first read, and the notifier in another mm by then */

static struct {
	struct consumer c;
	struct test_gate reads, notes, go_on;
	uint64_t seq;
} late;

static void late_waits(uint64_t seq)
{
	(void)seq;
	test_gate_open(&late.reads);
}

static void late_notes(const struct mmu_range_notifier *mrn)
{
	CHECK(mrn == &late.c.mrn);
	mrn_check_read_hook = NULL;
	test_gate_open(&late.notes);
	test_gate_wait(&late.go_on);
}

static void *late_read(void *unused)
{
	late.seq = mmu_range_read_begin(&late.c.mrn);
	return unused;
}

/* Nobody who removes it from the second mm waits for that reader, and it stands for no insertion but its own. */
TEST(a5_a_first_read_is_nothing_to_another_insertion)
{
	struct mrn_mm *mm[] = {new_mm(), new_mm()};
	struct mmu_notifier_range r = pages(mm[0], 4, 5);
	pthread_t reader;

	memset(&late, 0, sizeof(late));
	mrn_check_wait_hook = late_waits;
	mrn_check_read_hook = late_notes;
	start(&r);
	consumer_init(&late.c);
	consumer_insert(&late.c, mm[0], 4, 8);
	reader = go(late_read, NULL);
	test_gate_wait(&late.reads);
	consumer_remove(&late.c);
	consumer_insert(&late.c, mm[1], 4, 8);
	end(&r);
	test_gate_wait(&late.notes);
	consumer_remove(&late.c);
	consumer_insert(&late.c, mm[1], 4, 8);
	test_gate_open(&late.go_on);
	done(reader);
	CHECK(LOAD(&late.c.mrn.mm_state) != &mm[0]->state);
	CHECK(LOAD(&late.c.mrn.mm_state) != &mm[1]->state);
	CHECK(late.c.mrn.invalidate_seq != late.seq);
	consumer_check_works(&late.c);
	CHECK(LOAD(&late.c.mrn.mm_state) == &mm[1]->state);
	consumer_remove(&late.c);
	destroy_idle(mm[0]);
	destroy_idle(mm[1]);
}
