/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bad input to every function of mmu_notifier.h: each says what is wrong, and nothing is lost or
 * left behind. (-ESTALE is in core_fork.c, -ESRCH in core_end.c, -EDEADLK of callbacks in
 * core_remove.c.)
 */
#include "core_fixture.h"

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
	CHECK_EQ(LOAD(&mm->refs), 2);
	CHECK_EQ(LOAD(&mm2->refs), 1);
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
	CHECK_ERR(mmu_range_notifier_remove_async(NULL, never_freed), -EINVAL);
	CHECK_ERR(mmu_range_notifier_remove_async(&c.mrn, NULL), -EINVAL);
	CHECK_ERR(mmu_range_notifier_remove_async(&zeroed, never_freed), -ENOENT);
	check_all_is_well(mm, &c);
	consumer_remove(&c);
	CHECK_ERR(mmu_range_notifier_remove(&c.mrn), -ENOENT);
	CHECK_ERR(mmu_range_notifier_remove_async(&c.mrn, never_freed), -ENOENT);
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
