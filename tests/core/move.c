/* SPDX-License-Identifier: BSD-3-Clause */
/* Moving a notifier to another range of its mm, which is a removal and an insertion in one. */
#include "tests/core/fixture.h"

static int move_to(struct consumer *c, unsigned int from, unsigned int to)
{
	return mrn_range_notifier_move(&c->mrn, PAGE(from), PAGE(to - from));
}

TEST(a_moved_notifier_is_told_of_its_new_range_alone)
{
	struct mrn_mm *mm = new_mm();
	struct consumer c;
	uint64_t seq;

	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	seq = mmu_range_read_begin(&c.mrn);
	CHECK(seq != 0);
	/* The only one of its mm, then one of two. */
	for (unsigned int i = 0; i < 2; i++) {
		struct consumer other;

		consumer_init(&other);
		if (i)
			consumer_insert(&other, mm, 100, 101);
		c.calls = 0;
		CHECK_ERR(move_to(&c, 20, 24), 0);
		CHECK(!consumer_publish(&c, seq));
		CHECK(mrn_index_is_valid(&mm->index));
		start_and_end(mm, 4, 8);
		CHECK_EQ(c.calls, 0);
		start_and_end(mm, 23, 30);
		CHECK_EQ(c.calls, 1);
		CHECK_ERR(move_to(&c, 4, 8), 0);
		start_and_end(mm, 20, 24);
		CHECK_EQ(c.calls, 1);
		start_and_end(mm, 7, 8);
		CHECK_EQ(c.calls, 2);
		if (i)
			consumer_remove(&other);
	}
	consumer_remove(&c);
	destroy_idle(mm);
}

/* A3: an invalidation that began before the move missed it, and the first read waits for it. */
TEST(a3_a_moved_notifier_waits_for_what_has_missed_it)
{
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range r = pages(mm, 20, 24);
	struct timespec past = {0, 0};
	struct consumer c;
	uint64_t seq;

	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	CHECK(mmu_range_read_begin(&c.mrn) != 0);
	start(&r);
	CHECK_ERR(move_to(&c, 20, 24), 0);
	/* Its own thread's, so it is told rather than made to wait. */
	CHECK_ERR(mrn_range_read_begin_until(&c.mrn, &past, &seq), -EDEADLK);
	end(&r);
	CHECK_EQ(c.calls, 0);
	CHECK_ERR(mrn_range_read_begin_until(&c.mrn, &past, &seq), 0);
	consumer_remove(&c);
	destroy_idle(mm);
}
TWIN(a3_a_moved_notifier_waits_for_what_has_missed_it, first_read, BREAK(A3_FIRST_READ));

/* ------------------------------------------------------------------------------------------- A5 */

static void *start_and_end_4_8(void *mm)
{
	start_and_end(mm, 4, 8);
	return NULL;
}

struct mover {
	struct consumer *c;
	const bool *left;
	int tid;
};

static void *move_it(void *arg)
{
	struct mover *m = arg;

	STORE(&m->tid, my_tid());
	CHECK_ERR(move_to(m->c, 20, 24), 0);
	CHECK(LOAD(m->left));
	CHECK_EQ(LOAD(&m->c->inside), 0);
	return NULL;
}

TEST(a5_move_waits_for_a_running_callback)
{
	struct mrn_mm *mm = new_mm();
	struct test_gate entered = {0}, leave = {0};
	bool left = false;
	struct consumer c;
	struct mover m = {.c = &c, .left = &left};
	pthread_t starter, mover;

	consumer_init(&c);
	c.entered = &entered;
	c.leave = &leave;
	consumer_insert(&c, mm, 4, 8);
	starter = go(start_and_end_4_8, mm);
	test_gate_wait(&entered);
	mover = go(move_it, &m);
	await_sleep(&m.tid);
	/* On its way already, and neither here nor there. */
	start_and_end(mm, 4, 24);
	CHECK_EQ(LOAD(&c.inside), 1);
	CHECK_ERR(mmu_range_notifier_remove(&c.mrn), -ENOENT);
	CHECK_ERR(move_to(&c, 30, 31), -ENOENT);
	STORE(&left, true);
	test_gate_open(&leave);
	done(mover);
	done(starter);
	CHECK_EQ(c.calls, 1);
	start_and_end(mm, 20, 21);
	CHECK_EQ(c.calls, 2);
	consumer_remove(&c);
	destroy_idle(mm);
}
TWIN(a5_move_waits_for_a_running_callback, no_wait, BREAK(A5_REMOVE_WAIT));

/* A walk that has found the notifier is held there, in its section. */
static struct {
	struct consumer *c;
	struct test_gate found, go_on;
} held;

static void hold_walk(const struct mrn_index_entry *e)
{
	if (e != &held.c->mrn.node)
		return;
	test_gate_open(&held.found);
	test_gate_wait(&held.go_on);
}

TEST(a5_move_waits_for_a_walk_that_has_found_it)
{
	struct mrn_mm *mm = new_mm();
	bool left = false;
	struct consumer c;
	struct mover m = {.c = &c, .left = &left};
	pthread_t starter, mover;

	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	held.c = &c;
	mrn_check_walk_hook = hold_walk;
	starter = go(start_and_end_4_8, mm);
	test_gate_wait(&held.found);
	mover = go(move_it, &m);
	await_sleep(&m.tid);
	STORE(&left, true);
	test_gate_open(&held.go_on);
	done(mover);
	done(starter);
	mrn_check_walk_hook = NULL;
	/* It was there to be found, and was already on its way. */
	CHECK_EQ(c.calls, 0);
	consumer_remove(&c);
	destroy_idle(mm);
}
TWIN(a5_move_waits_for_a_walk_that_has_found_it, no_grace, BREAK(A5_GRACE));

/* --------------------------------------------------------------------------------------- failures */

TEST(a_move_that_fails_has_removed)
{
	struct mrn_mm *mm = new_mm();
	struct consumer c;

	consumer_init(&c);
	CHECK_ERR(move_to(&c, 4, 8), -ENOENT);
	for (unsigned int i = 0; i < 3; i++) {
		consumer_insert(&c, mm, 4, 8);
		switch (i) {
		case 0:
			CHECK_ERR(move_to(&c, 8, 8), -EINVAL);
			break;
		case 1:
			CHECK_ERR(mrn_range_notifier_move(&c.mrn, UINTPTR_MAX - 4096, 4096),
				  -EOVERFLOW);
			break;
		case 2:
			CHECK_ERR(mrn_range_notifier_move(&c.mrn, UINTPTR_MAX - 4096, 8192),
				  -EOVERFLOW);
			break;
		}
		CHECK_ERR(mmu_range_notifier_remove(&c.mrn), -ENOENT);
		check_idle(mm);
	}
	destroy_idle(mm);
}

TEST(a_move_without_memory_has_removed)
{
	enum { N = 33 };
	struct mrn_mm *mm = new_mm();
	struct consumer c[N];
	int r = 0;

	for (unsigned int i = 0; i < N; i++) {
		consumer_init(&c[i]);
		consumer_insert(&c[i], mm, 4 + 2 * i, 5 + 2 * i);
	}
	/* Far away, so that leaves become full there and have to be split. */
	mrn_check_alloc_left = 1;
	for (unsigned int i = 0; i < N; i++) {
		r = move_to(&c[i], (1u << 20) + i, (1u << 20) + i + 1);
		if (r)
			CHECK_ERR(mmu_range_notifier_remove(&c[i].mrn), -ENOENT);
		else
			consumer_remove(&c[i]);
	}
	mrn_check_alloc_left = 0;
	destroy_idle(mm);
}

TEST(an_mm_that_has_ended_takes_no_moved_notifier)
{
	struct mrn_mm *mm = new_mm();
	struct consumer c;

	consumer_init(&c);
	consumer_insert(&c, mm, 4, 8);
	CHECK_ERR(mrn_mm_destroy(mm), 0);
	CHECK_ERR(move_to(&c, 20, 24), -ESRCH);
	CHECK_ERR(mmu_range_notifier_remove(&c.mrn), -ENOENT);
}
