/* SPDX-License-Identifier: BSD-3-Clause */
/* A kernel-style driver in two passes, which reads its range from the notifier. */
#include <mrn/linux/mmu_notifier.h>

#include "tests/core/fixture.h"

#define IS_A(fn, type) \
	_Static_assert(_Generic(fn, type : 1, default : 0), "the kernel's is another")

IS_A(((struct mmu_interval_notifier_ops *)0)->invalidate_start,
     bool (*)(struct mmu_interval_notifier *, const struct mmu_notifier_range *, unsigned long,
	      struct mmu_interval_notifier_finish **));
IS_A(((struct mmu_interval_notifier_ops *)0)->invalidate_finish,
     void (*)(struct mmu_interval_notifier_finish *));
IS_A(((struct mmu_interval_notifier_finish *)0)->notifier, struct mmu_interval_notifier *);
IS_A(mmu_interval_notifier_start, unsigned long (*)(const struct mmu_interval_notifier *));
IS_A(mmu_interval_notifier_last, unsigned long (*)(const struct mmu_interval_notifier *));

struct userptr {
	struct mmu_interval_notifier notifier;
	struct mmu_interval_notifier_finish finish;
	bool finish_inuse;
	unsigned long from, last; /* what the last invalidation shares with the range */
	unsigned int finished;
};

static bool userptr_start(struct mmu_interval_notifier *mni, const struct mmu_notifier_range *range,
			  unsigned long cur_seq, struct mmu_interval_notifier_finish **finish)
{
	struct userptr *u = container_of(mni, struct userptr, notifier);
	unsigned long start = mmu_interval_notifier_start(mni),
		      last = mmu_interval_notifier_last(mni);

	mmu_interval_set_seq(mni, cur_seq);
	u->from = range->start > start ? range->start : start;
	u->last = range->end - 1 < last ? range->end - 1 : last;
	CHECK(!u->finish_inuse);
	u->finish_inuse = true;
	*finish = &u->finish;
	return true;
}

static void userptr_finish(struct mmu_interval_notifier_finish *finish)
{
	struct userptr *u = container_of(finish, struct userptr, finish);

	CHECK(finish->notifier == &u->notifier);
	u->finish_inuse = false;
	u->finished++;
}

static const struct mmu_interval_notifier_ops userptr_ops = {
	.invalidate_start = userptr_start,
	.invalidate_finish = userptr_finish,
};

TEST(linux_driver_in_two_passes)
{
	struct mm_struct *mm = new_mm();
	unsigned long addr = PAGE(4) + 100, length = PAGE(3);
	struct userptr u;

	memset(&u, 0xa5, sizeof(u));
	u.finish_inuse = false;
	u.finished = 0;
	CHECK_EQ(mmu_interval_notifier_insert(&u.notifier, mm, addr, length, &userptr_ops), 0);
	CHECK_EQ(mmu_interval_notifier_start(&u.notifier), PAGE(4));
	CHECK_EQ(mmu_interval_notifier_last(&u.notifier), PAGE(8) - 1);
	start_and_end(mm, 1, 6);
	CHECK_EQ(u.finished, 1);
	CHECK_EQ(u.from, PAGE(4));
	CHECK_EQ(u.last, PAGE(6) - 1);
	start_and_end(mm, 5, 20);
	CHECK_EQ(u.finished, 2);
	CHECK_EQ(u.from, PAGE(5));
	CHECK_EQ(u.last, PAGE(8) - 1);
	CHECK(mmu_interval_read_begin(&u.notifier) != 0);
	mmu_interval_notifier_remove(&u.notifier);
	/* As in the kernel, they stay: a driver may look whether it has ever inserted. */
	CHECK_EQ(mmu_interval_notifier_start(&u.notifier), PAGE(4));
	destroy_idle(mm);
}
TWIN(linux_driver_in_two_passes, no_finish, BREAK(A1_FINISH));
