/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bad input to every function of mmu_notifier.h: each says what is wrong, and nothing is lost or
 * left behind. (-ESTALE is in core_fork.c, -ESRCH in core_end.c, -EDEADLK of callbacks in
 * core_remove.c.)
 */
#include "tests/core/fixture.h"

static bool never_called(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			 uint64_t cur_seq)
{
	(void)mrn;
	(void)range;
	(void)cur_seq;
	FAIL("called back");
}

static void never_freed(struct mmu_range_notifier *mrn)
{
	(void)mrn;
	FAIL("freed");
}

/* After whatever was refused: the mm and a notifier in it work. */
static void check_all_is_well(struct mrn_mm *mm, struct consumer *c)
{
	unsigned int before = c->calls;

	check_idle(mm);
	consumer_check_works(c);
	start_and_end(mm, 4, 5);
	CHECK_EQ(c->calls, before + 1);
	consumer_check_works(c);
}

TEST(input_insert)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = never_called}, no_function;
	struct mrn_mm *mm = new_mm(), *mm2 = new_mm();
	struct mmu_range_notifier m = {0};
	struct consumer c;
	static const struct {
		uintptr_t start, length;
		int error;
	} bad[] = {
		{0x1000, 0, -EINVAL},
		{UINTPTR_MAX, 0, -EINVAL},
		{UINTPTR_MAX, 1, -EOVERFLOW},
		{UINTPTR_MAX, UINTPTR_MAX, -EOVERFLOW},
		{0x1000, UINTPTR_MAX, -EOVERFLOW},
		{1, UINTPTR_MAX, -EOVERFLOW},
		/* The last page has no end that is a number. */
		{UINTPTR_MAX - 10, 5, -EOVERFLOW},
		{0, UINTPTR_MAX, -EOVERFLOW},
	};

	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	CHECK_ERR(mmu_range_notifier_insert(NULL, 0x1000, 1, mm), -EINVAL);
	CHECK_ERR(mmu_range_notifier_insert(&m, 0x1000, 1, mm), -EINVAL); /* no ops */
	m.ops = &no_function;
	CHECK_ERR(mmu_range_notifier_insert(&m, 0x1000, 1, mm), -EINVAL);
	m.ops = &ops;
	CHECK_ERR(mmu_range_notifier_insert(&m, 0x1000, 1, NULL), -EINVAL);
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_ERR(mmu_range_notifier_insert(&m, bad[i].start, bad[i].length, mm),
			  bad[i].error);
		/* Nothing to undo. */
		CHECK_ERR(mmu_range_notifier_remove(&m), -ENOENT);
		check_all_is_well(mm, &c);
	}
	/* Twice, in this mm and in another. */
	CHECK_ERR(mmu_range_notifier_insert(&c.mrn, PAGE(4), PAGE(1), mm), -EBUSY);
	CHECK_ERR(mmu_range_notifier_insert(&c.mrn, PAGE(4), PAGE(1), mm2), -EBUSY);
	check_all_is_well(mm, &c);
	CHECK_EQ(LOAD(&mm->home.refs), 2);
	CHECK_EQ(LOAD(&mm2->home.refs), 1);
	/* As far up as it goes, and from 0. */
	m.ops = c.mrn.ops;
	consumer_remove(&c);
	CHECK_ERR(mmu_range_notifier_insert(&c.mrn, 0, UINTPTR_MAX - mrn_page_size(), mm), 0);
	start_and_end(mm, 4, 5);
	consumer_remove(&c);
	CHECK_ERR(mmu_range_notifier_insert(&c.mrn, 0, 1, mm), 0);
	CHECK_EQ(c.mrn.node.end, mrn_page_size());
	consumer_remove(&c);
	destroy_idle(mm);
	destroy_idle(mm2);
}

TEST(input_remove)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_range_notifier zeroed = {0};
	struct consumer c, never;

	consumer_init(&c);
	consumer_init(&never);
	consumer_insert(&c, mm, 4, 8);
	CHECK_ERR(mmu_range_notifier_remove(NULL), -EINVAL);
	CHECK_ERR(mmu_range_notifier_remove(&zeroed), -ENOENT);
	CHECK_ERR(mmu_range_notifier_remove(&never.mrn), -ENOENT);
	CHECK_ERR(mrn_range_notifier_remove_async(NULL, never_freed), -EINVAL);
	CHECK_ERR(mrn_range_notifier_remove_async(&c.mrn, NULL), -EINVAL);
	CHECK_ERR(mrn_range_notifier_remove_async(&zeroed, never_freed), -ENOENT);
	check_all_is_well(mm, &c);
	consumer_remove(&c);
	CHECK_ERR(mmu_range_notifier_remove(&c.mrn), -ENOENT);
	CHECK_ERR(mrn_range_notifier_remove_async(&c.mrn, never_freed), -ENOENT);
	consumer_insert(&c, mm, 4, 8);
	check_all_is_well(mm, &c);
	consumer_remove(&c);
	destroy_idle(mm);
}

TEST(input_read_begin_until)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_range_notifier zeroed = {0};
	struct consumer c;
	uint64_t seq = 77;

	consumer_init(&c);
	CHECK_ERR(mrn_range_read_begin_until(&zeroed, NULL, &seq), -ENOENT);
	CHECK_ERR(mrn_range_read_begin_until(&c.mrn, NULL, &seq), -ENOENT);
	consumer_insert(&c, mm, 4, 8);
	CHECK_ERR(mrn_range_read_begin_until(NULL, NULL, &seq), -EINVAL);
	CHECK_ERR(mrn_range_read_begin_until(&c.mrn, NULL, NULL), -EINVAL);
	check_all_is_well(mm, &c);
	consumer_remove(&c);
	CHECK_ERR(mrn_range_read_begin_until(&c.mrn, NULL, &seq), -ENOENT);
	CHECK_EQ(seq, 77);
	/* What was inserted once can still be asked, and says no. */
	CHECK_EQ(mmu_range_read_begin(&c.mrn), 0);
	CHECK(mmu_range_check_retry(&c.mrn, 0));
	destroy_idle(mm);
}

TEST(input_start_and_end)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range r, never;
	struct consumer c;
	static const uintptr_t bad[][2] = {
		{0x4000, 0x4000},	    {0x5000, 0x4000}, {0, 0},
		{UINTPTR_MAX, UINTPTR_MAX}, {UINTPTR_MAX, 0},
	};

	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	CHECK_ERR(mmu_notifier_invalidate_range_start(NULL), -EINVAL);
	CHECK_ERR(mmu_notifier_invalidate_range_start_nonblock(NULL), -EINVAL);
	mmu_notifier_invalidate_range_end(NULL);
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		mmu_notifier_range_init(&r, MMU_NOTIFY_UNMAP, 0, mm, bad[i][0], bad[i][1]);
		CHECK_ERR(mmu_notifier_invalidate_range_start(&r), -EINVAL);
		CHECK_ERR(mmu_notifier_invalidate_range_start_nonblock(&r), -EINVAL);
		mmu_notifier_invalidate_range_end(&r);
	}
	mmu_notifier_range_init(&r, MMU_NOTIFY_UNMAP, 0, NULL, PAGE(4), PAGE(5));
	CHECK_ERR(mmu_notifier_invalidate_range_start(&r), -EINVAL);
	CHECK_ERR(mmu_notifier_invalidate_range_start_nonblock(&r), -EINVAL);
	mmu_notifier_invalidate_range_end(&r);
	CHECK_EQ(c.calls, 0);
	check_all_is_well(mm, &c);
	/* An end without a start; and one too many. */
	never = pages(mm, 4, 5);
	mmu_notifier_invalidate_range_end(&never);
	r = pages(mm, 4, 5);
	start(&r);
	mmu_notifier_invalidate_range_end(&never);
	CHECK(mrn_tokens_overlap(mm, PAGE(4), PAGE(5)));
	end(&r);
	end(&r);
	check_all_is_well(mm, &c);
	/* The whole address space, and one byte. */
	for (unsigned int slots = 1; slots <= 2; slots++) {
		struct mmu_notifier_range all, byte;

		mrn_check_slots = slots;
		mmu_notifier_range_init(&all, MMU_NOTIFY_UNMAP, 0, mm, 0, UINTPTR_MAX);
		mmu_notifier_range_init(&byte, MMU_NOTIFY_UNMAP, 0, mm, PAGE(4), PAGE(4) + 1);
		start(&all);
		start(&byte);
		end(&all);
		end(&byte);
	}
	check_all_is_well(mm, &c);
	consumer_remove(&c);
	destroy_idle(mm);
}

TEST(input_mm)
{
	CHECK_ERR(mrn_mm_create(NULL), -EINVAL);
	CHECK_ERR(mrn_mm_destroy(NULL), -EINVAL);
	CHECK_ERR(mrn_mm_destroy(mrn_mm_self()), -EINVAL);
	check_idle(mrn_mm_self());
	CHECK_ERR(mmu_notifier_synchronize(NULL), -EINVAL);
	CHECK_ERR(mmu_notifier_synchronize(mrn_mm_self()), 0);
}

TEST(input_list)
{
	static const struct mmu_notifier_ops ops;
	struct mrn_mm *mm = new_mm(), *mm2 = new_mm();
	struct mmu_notifier mn = {0}, zeroed = {0};
	struct consumer c;

	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	CHECK_ERR(mmu_notifier_register(NULL, mm), -EINVAL);
	CHECK_ERR(mmu_notifier_register(&mn, mm), -EINVAL); /* no ops */
	mn.ops = &ops;
	CHECK_ERR(mmu_notifier_register(&mn, NULL), -EINVAL);
	CHECK_ERR(mmu_notifier_unregister(&mn, mm), -ENOENT);
	CHECK_ERR(mmu_notifier_unregister(NULL, mm), -EINVAL);
	CHECK_ERR(mmu_notifier_unregister(&zeroed, mm), -ENOENT);
	CHECK_ERR(mmu_notifier_register(&mn, mm), 0);
	CHECK_ERR(mmu_notifier_register(&mn, mm), -EBUSY);
	CHECK_ERR(mmu_notifier_register(&mn, mm2), -EBUSY);
	CHECK_ERR(mmu_notifier_unregister(&mn, NULL), -EINVAL);
	CHECK_ERR(mmu_notifier_unregister(&mn, mm2), -ENOENT);
	check_all_is_well(mm, &c);
	CHECK_ERR(mmu_notifier_unregister(&mn, mm), 0);
	CHECK_ERR(mmu_notifier_unregister(&mn, mm), -ENOENT);
	check_all_is_well(mm, &c);
	consumer_remove(&c);
	destroy_idle(mm);
	destroy_idle(mm2);
}

/* The process's own mm is one, whoever asks for it first. */
static void *ask(void *out)
{
	*(struct mrn_mm **)out = mrn_mm_self();
	return NULL;
}

TEST(input_mm_self_is_one_for_all_threads)
{
	enum { N = 8 };
	struct mrn_mm *mm[N];
	pthread_t t[N];

	for (int i = 0; i < N; i++)
		t[i] = go(ask, &mm[i]);
	for (int i = 0; i < N; i++) {
		done(t[i]);
		CHECK(mm[i] && mm[i] == mrn_mm_self());
	}
}

/* ------------------------------------------------------------- events, causes and flags that there are not */

TEST(input_start_events_causes_flags)
{
	static const long long bad[] = {-1, -2147483647 - 1LL, 64, 1000000, 2147483647};
	struct mrn_mm *mm = new_mm();
	struct consumer c;

	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	for (int event = 0; event <= MMU_NOTIFY_EXCLUSIVE; event++) {
		for (int cause = 0; cause < MRN_NR_CAUSES; cause++) {
			struct mmu_notifier_range r = pages(mm, 4, 5);

			r.event = (enum mmu_notifier_event)event;
			r.cause = (enum mrn_cause)cause;
			start(&r);
			end(&r);
		}
	}
	c.calls = 0;
	for (unsigned int i = 0; i < 3 * (sizeof(bad) / sizeof(bad[0]) + 1); i++) {
		struct mmu_notifier_range r = pages(mm, 4, 5);
		long long least = i % 3 == 0   ? MMU_NOTIFY_EXCLUSIVE + 1
				  : i % 3 == 1 ? MRN_NR_CAUSES
					       : 8;
		long long value = i < 3 ? least : bad[i / 3 - 1];

		if (i % 3 == 0)
			r.event = (enum mmu_notifier_event)value;
		else if (i % 3 == 1)
			r.cause = (enum mrn_cause)value;
		else
			r.flags = (unsigned int)value & ~7u;
		CHECK_ERR(mmu_notifier_invalidate_range_start(&r), -EINVAL);
		CHECK_ERR(mmu_notifier_invalidate_range_start_nonblock(&r), -EINVAL);
		mmu_notifier_invalidate_range_end(&r);
	}
	CHECK_EQ(c.calls, 0);
	check_all_is_well(mm, &c);
	consumer_remove(&c);
	/* Nor can one be waited for. */
	c.mrn.events = 1u << (MMU_NOTIFY_EXCLUSIVE + 1);
	CHECK_ERR(mmu_range_notifier_insert(&c.mrn, PAGE(4), PAGE(1), mm), -EINVAL);
	c.mrn.events = 1u << MMU_NOTIFY_EXCLUSIVE;
	CHECK_ERR(mmu_range_notifier_insert(&c.mrn, PAGE(4), PAGE(1), mm), 0);
	consumer_remove(&c);
	destroy_idle(mm);
}

/* ------------------------------------------------------------------------- ranges started or ended twice */

static unsigned int list_starts, list_ends;

static int count_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	ADD(&list_starts, 1);
	return 0;
}

static void count_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	ADD(&list_ends, 1);
}

static const struct mmu_notifier_ops counting_ops = {.invalidate_range_start = count_start,
						     .invalidate_range_end = count_end};

/* With and without a range notifier that is met, a list notifier that is told, and a slot to be had. */
struct range_case {
	struct mrn_mm *mm;
	struct consumer c;
	struct mmu_notifier mn;
	struct mmu_notifier_range elsewhere;
	bool met, told, slot;
};

static void range_case_init(struct range_case *k, unsigned int i)
{
	memset(k, 0, sizeof(*k));
	k->met = i & 1;
	k->told = i & 2;
	k->slot = i & 4;
	k->mm = new_mm();
	consumer_init(&k->c);
	consumer_insert(&k->c, k->mm, 4, 8);
	k->mn.ops = &counting_ops;
	mrn_check_slots = k->slot ? MRN_TOKEN_SLOTS : 1;
	k->elsewhere = pages(k->mm, 50, 51);
	if (k->told)
		CHECK_ERR(mmu_notifier_register(&k->mn, k->mm), 0);
	if (!k->slot)
		start(&k->elsewhere);
	list_starts = list_ends = 0;
}

static struct mmu_notifier_range range_case_pages(struct range_case *k)
{
	return k->met ? pages(k->mm, 4, 5) : pages(k->mm, 20, 21);
}

static void range_case_destroy(struct range_case *k)
{
	if (!k->slot)
		end(&k->elsewhere);
	if (k->told)
		CHECK_ERR(mmu_notifier_unregister(&k->mn, k->mm), 0);
	check_all_is_well(k->mm, &k->c);
	consumer_remove(&k->c);
	destroy_idle(k->mm);
}

static bool is_in_progress(const struct mmu_notifier_range *r)
{
	return mrn_tokens_overlap(r->mm, r->start, r->end);
}

static bool start_again(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			uint64_t cur_seq)
{
	struct mmu_notifier_range copy = *range;

	mmu_range_notifier_update_seq(mrn, cur_seq);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&copy), -EBUSY);
	mmu_notifier_invalidate_range_end(&copy);
	CHECK(is_in_progress(range));
	return true;
}

TEST(input_start_of_a_started_range)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = start_again};

	for (unsigned int i = 0; i < 8; i++) {
		struct mmu_range_notifier again = {.ops = &ops};
		struct mmu_notifier_range r, copy;
		struct range_case k;

		range_case_init(&k, i);
		r = range_case_pages(&k);
		/* Inside its own start, by a copy. */
		CHECK_ERR(mmu_range_notifier_insert(&again, r.start, PAGE(1), k.mm), 0);
		start(&r);
		CHECK_ERR(mmu_range_notifier_remove(&again), 0);
		copy = r;
		CHECK_ERR(mmu_notifier_invalidate_range_start(&r), -EBUSY);
		CHECK_ERR(mmu_notifier_invalidate_range_start_nonblock(&r), -EBUSY);
		CHECK_ERR(mmu_notifier_invalidate_range_start(&copy), -EBUSY);
		CHECK_EQ(memcmp(&r, &copy, sizeof(r)), 0);
		CHECK(is_in_progress(&r));
		CHECK_EQ(k.c.calls, k.met);
		CHECK_EQ(list_starts, k.told);
		end(&r);
		CHECK(!is_in_progress(&copy));
		/* Ended, it can be started again, and so can its copy; also where somebody else has the slot. */
		start(&r);
		start(&copy);
		CHECK_ERR(mmu_notifier_invalidate_range_start(&r), -EBUSY);
		end(&copy);
		CHECK(is_in_progress(&r));
		end(&r);
		range_case_destroy(&k);
	}
}

/* Of a range and its copies the first end is the end; the others do nothing, whoever has the slot by then. */
TEST(input_end_of_a_copy)
{
	for (unsigned int i = 0; i < 8; i++) {
		struct mmu_notifier_range r, copy, next;
		struct range_case k;

		range_case_init(&k, i);
		r = range_case_pages(&k);
		start(&r);
		copy = r;
		end(&copy);
		CHECK(!is_in_progress(&r));
		CHECK_EQ(list_ends, list_starts);
		end(&copy);
		end(&r);
		end(&r);
		next = range_case_pages(&k);
		start(&r);
		copy = r;
		end(&r);
		start(&next);
		end(&copy);
		end(&r);
		CHECK(is_in_progress(&next));
		CHECK_EQ(list_ends + (k.told), list_starts);
		end(&next);
		range_case_destroy(&k);
	}
}

/* With the list of the mm's own length: in the middle of it, too. */
TEST(input_end_of_copies_of_many)
{
	enum { N = 80 };
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range r[N], copy[N];

	for (int i = 0; i < N; i++) {
		r[i] = pages(mm, 4, 5);
		start(&r[i]);
	}
	memcpy(copy, r, sizeof(r));
	for (int i = 0; i < N; i++)
		end(i % 3 ? &copy[i * 27 % N] : &r[i * 27 % N]);
	check_idle(mm);
	for (int i = 0; i < N; i++) {
		end(&copy[i]);
		end(&r[i]);
	}
	destroy_idle(mm);
}

static struct {
	struct test_barrier round;
	struct mmu_notifier_range r;
	int rounds;
} twice;

static void *end_copies(void *arg)
{
	(void)arg;
	for (int i = 0; i < twice.rounds; i++) {
		struct mmu_notifier_range copy;

		test_barrier_wait(&twice.round);
		copy = twice.r;
		test_barrier_wait(&twice.round);
		end(&copy);
		test_barrier_wait(&twice.round);
	}
	return NULL;
}

/* At the same time, in two threads, while a third keeps taking the slots. */
TEST(input_end_of_copies_in_two_threads)
{
	for (unsigned int i = 0; i < 8; i++) {
		struct mmu_notifier_range other;
		struct range_case k;
		pthread_t t;

		range_case_init(&k, i);
		twice.rounds = ROUNDS(2000);
		test_barrier_init(&twice.round, 2);
		t = go(end_copies, NULL);
		for (int n = 0; n < twice.rounds; n++) {
			struct mmu_notifier_range copy;

			twice.r = range_case_pages(&k);
			start(&twice.r);
			copy = twice.r;
			test_barrier_wait(&twice.round);
			test_barrier_wait(&twice.round);
			end(&copy);
			other = pages(k.mm, 30, 31);
			start(&other);
			end(&copy);
			test_barrier_wait(&twice.round);
			CHECK(is_in_progress(&other));
			CHECK(!is_in_progress(&twice.r));
			CHECK_EQ(list_starts - list_ends, k.told);
			end(&other);
		}
		done(t);
		range_case_destroy(&k);
	}
}

/* Memory that is anything at all, as the stack's is: nothing is started, and it may be started. */
TEST(input_end_of_garbage)
{
	struct test_rand rand = rand_stream(1);
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range held = pages(mm, 4, 5);

	start(&held);
	for (int i = 0; i < 20000; i++) {
		struct mmu_notifier_range r;
		unsigned char *bytes = (unsigned char *)&r;

		for (size_t b = 0; b < sizeof(r); b++)
			bytes[b] = i < 256 ? (unsigned char)i : (unsigned char)below(&rand, 256);
		mmu_notifier_invalidate_range_end(&r);
		/* As far as its public fields are set. */
		r.mm = mm;
		r.start = PAGE(4);
		r.end = PAGE(5);
		r.flags = 0;
		r.event = MMU_NOTIFY_UNMAP;
		r.cause = MRN_CAUSE_UNKNOWN;
		mmu_notifier_invalidate_range_end(&r);
		CHECK(is_in_progress(&held));
		start(&r);
		end(&r);
	}
	end(&held);
	destroy_idle(mm);
}
