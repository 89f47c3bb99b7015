/* SPDX-License-Identifier: BSD-3-Clause */
/* A5 between the two passes: who is owed a finish is kept until it has returned. */
#include "tests/core/two_pass.h"

static void *start_and_end_19(void *mm)
{
	start_and_end(mm, 19, 20);
	return NULL;
}

/* The last device's first pass is held: what the first one is owed comes later. */
static struct test_gate in_last, leave_last;

static void hold_last(struct device *d, const struct mmu_notifier_range *range)
{
	(void)d;
	(void)range;
	test_gate_open(&in_last);
	test_gate_wait(&leave_last);
}

/* Two devices, the first of which is in memory of its own. */
struct couple {
	struct mrn_mm *mm;
	struct device *first, last;
	bool finished; /* the first one, so its memory may go */
	int tid;
};

static void note_finished(struct device *d)
{
	STORE(&((struct couple *)d->arg)->finished, true);
}

static void couple_init(struct couple *c)
{
	memset(c, 0, sizeof(*c));
	c->mm = new_mm();
	c->first = mmap(NULL, sizeof(*c->first), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(c->first != MAP_FAILED);
	device_init(c->first);
	device_init(&c->last);
	c->first->arg = c;
	c->first->taken_back = note_finished;
	c->last.in_start = hold_last;
	device_insert(c->first, c->mm, 4, 20);
	device_insert(&c->last, c->mm, 5, 20);
}

static void *remove_first(void *arg)
{
	struct couple *c = arg;

	STORE(&c->tid, my_tid());
	CHECK_EQ(mmu_range_notifier_remove(&c->first->mrn), 0);
	CHECK(LOAD(&c->finished));
	/* Whoever still looks at it crashes. */
	CHECK_EQ(munmap(c->first, mrn_page_up(sizeof(*c->first))), 0);
	return NULL;
}

TEST(a5_remove_between_the_passes_waits_for_the_finish)
{
	struct couple c;
	pthread_t starter, remover;

	couple_init(&c);
	starter = go(start_and_end_19, c.mm);
	test_gate_wait(&in_last);
	remover = go(remove_first, &c);
	await_sleep(&c.tid);
	/* On its way out: no first pass of another start. */
	start_and_end(c.mm, 4, 5);
	CHECK_EQ(c.first->starts, 1);
	CHECK_EQ(c.first->finishes, 0);
	test_gate_open(&leave_last);
	done(remover);
	done(starter);
	device_remove(&c.last);
	destroy_idle(c.mm);
}
TWIN(a5_remove_between_the_passes_waits_for_the_finish, not_pinned, BREAK(A5_FINISH_PIN));

static struct couple *freed_of;

static void free_first(struct mmu_range_notifier *mrn)
{
	struct couple *c = freed_of;

	CHECK(mrn == &c->first->mrn);
	CHECK(LOAD(&c->finished));
	CHECK_EQ(munmap(c->first, mrn_page_up(sizeof(*c->first))), 0);
	c->first = NULL;
}

static void remove_itself(struct device *d, const struct mmu_notifier_range *range)
{
	(void)range;
	CHECK_ERR(mmu_range_notifier_remove(&d->mrn), -EDEADLK);
	CHECK_ERR(mrn_range_notifier_remove_async(&d->mrn, free_first), 0);
}

static void *synchronize(void *arg)
{
	struct couple *c = arg;

	STORE(&c->tid, my_tid());
	CHECK_ERR(mmu_notifier_synchronize(c->mm), 0);
	CHECK(!c->first);
	return NULL;
}

/* Asked for in the first pass, between them, or in the finish: freed when the finish has returned. */
TEST(a5_remove_async_in_a_first_pass_frees_after_the_finish)
{
	struct couple c;
	pthread_t starter, other;

	couple_init(&c);
	freed_of = &c;
	c.first->in_start = remove_itself;
	starter = go(start_and_end_19, c.mm);
	test_gate_wait(&in_last);
	other = go(synchronize, &c);
	await_sleep(&c.tid);
	test_gate_open(&leave_last);
	done(other);
	done(starter);
	device_remove(&c.last);
	destroy_idle(c.mm);
}
TWIN(a5_remove_async_in_a_first_pass_frees_after_the_finish, not_pinned, BREAK(A5_FINISH_PIN));

static void remove_in_finish(struct device *d)
{
	note_finished(d);
	CHECK_ERR(mmu_range_notifier_remove(&d->mrn), -EDEADLK);
	CHECK_ERR(mrn_range_notifier_remove_async(&d->mrn, free_first), 0);
}

TEST(a5_remove_async_in_a_finish)
{
	struct couple c;

	couple_init(&c);
	freed_of = &c;
	c.last.in_start = NULL;
	c.first->taken_back = remove_in_finish;
	start_and_end(c.mm, 19, 20);
	CHECK_ERR(mmu_notifier_synchronize(c.mm), 0);
	CHECK(!c.first);
	device_remove(&c.last);
	destroy_idle(c.mm);
}
