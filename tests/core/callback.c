/* SPDX-License-Identifier: BSD-3-Clause */
/* What a thread may not do out of a callback: be cancelled, end, or be unwound. */
#include "tests/core/fixture.h"
#include "tests/harness/child.h"

/* ---------------------------------------------------------------------------------- cancellation */

/* A consumer whose functions wait by libc, where a thread that may be cancelled is. */
static struct {
	struct test_gate entered;
	struct mrn_mm *mm;
	struct mmu_notifier *made;
	unsigned int freed;
} slow;

/* Opens the gate once, and is not left while a request is pending. */
static void wait_by_libc(void)
{
	struct timespec t = {.tv_nsec = 1000000};

	test_gate_open(&slow.entered);
	for (int i = 0; i < 50; i++)
		nanosleep(&t, NULL);
}

static bool slow_invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			    uint64_t cur_seq)
{
	(void)range;
	mmu_range_notifier_update_seq(mrn, cur_seq);
	wait_by_libc();
	return true;
}

static int slow_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	wait_by_libc();
	return 0;
}

static void slow_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	wait_by_libc();
}

static void slow_release(struct mmu_notifier *mn, struct mrn_mm *mm)
{
	(void)mn;
	(void)mm;
	wait_by_libc();
}

static struct mmu_notifier *slow_alloc(struct mrn_mm *mm)
{
	(void)mm;
	wait_by_libc();
	return calloc(1, sizeof(struct mmu_notifier));
}

static void slow_free(struct mmu_notifier *mn)
{
	wait_by_libc();
	free(mn);
	ADD(&slow.freed, 1);
}

static void slow_free_range(struct mmu_range_notifier *mrn)
{
	(void)mrn;
	wait_by_libc();
	ADD(&slow.freed, 1);
}

static const struct mmu_range_notifier_ops range_ops = {.invalidate = slow_invalidate};
static const struct mmu_notifier_ops start_ops = {.invalidate_range_start = slow_start},
				     end_ops = {.invalidate_range_end = slow_end},
				     release_ops = {.release = slow_release},
				     get_ops = {.alloc_notifier = slow_alloc,
						.free_notifier = slow_free};

static struct mmu_range_notifier range_notifier = {.ops = &range_ops};
static struct mmu_notifier list_notifier;

static void *change(void *arg)
{
	(void)arg;
	start_and_end(slow.mm, 4, 5);
	return NULL;
}

static void *unregister(void *arg)
{
	(void)arg;
	CHECK_ERR(mmu_notifier_unregister(&list_notifier, slow.mm), 0);
	return NULL;
}

static void *get_one(void *arg)
{
	(void)arg;
	CHECK_ERR(mmu_notifier_get(&get_ops, slow.mm, &slow.made), 0);
	return NULL;
}

static void *synchronize(void *arg)
{
	(void)arg;
	CHECK_ERR(mmu_notifier_synchronize(slow.mm), 0);
	return NULL;
}

/* Asked to end in the middle of a consumer's function: it ends, behind the call into the library. */
static void cancel_in(void *(*fn)(void *))
{
	pthread_t t;
	void *result;

	memset(&slow.entered, 0, sizeof(slow.entered));
	t = go(fn, NULL);
	test_gate_wait(&slow.entered);
	CHECK_EQ(pthread_cancel(t), 0);
	CHECK_EQ(pthread_join(t, &result), 0);
	CHECK_EQ(mrn_callback_depth, 0);
	CHECK_EQ(LOAD(&slow.mm->state), MRN_MM_IDLE);
	CHECK(!mrn_tokens_overlap(slow.mm, 0, UINTPTR_MAX));
}

TEST(p4_a_thread_that_is_cancelled_in_a_callback_leaves_nothing)
{
	static const unsigned int slots[] = {MRN_TOKEN_SLOTS, 1};
	static const struct mmu_notifier_ops *const ops[] = {&start_ops, &end_ops};

	for (int s = 0; s < 2; s++) {
		mrn_check_slots = slots[s];
		slow.mm = new_mm();
		CHECK_ERR(mmu_range_notifier_insert(&range_notifier, PAGE(4), PAGE(1), slow.mm), 0);
		cancel_in(change);
		CHECK(mmu_range_read_begin(&range_notifier) != 0);
		CHECK_ERR(mmu_range_notifier_remove(&range_notifier), 0);
		for (int i = 0; i < 2; i++) {
			list_notifier = (struct mmu_notifier){.ops = ops[i]};
			CHECK_ERR(mmu_notifier_register(&list_notifier, slow.mm), 0);
			cancel_in(change);
			CHECK_ERR(mmu_notifier_unregister(&list_notifier, slow.mm), 0);
		}
		destroy_idle(slow.mm);
	}
}
TWIN(p4_a_thread_that_is_cancelled_in_a_callback_leaves_nothing, not_held, BREAK(CANCEL_HOLD),
     .accept_abort = true);

TEST(p4_a_thread_that_is_cancelled_in_release_alloc_or_free_leaves_nothing)
{
	slow.mm = new_mm();
	list_notifier = (struct mmu_notifier){.ops = &release_ops};
	CHECK_ERR(mmu_notifier_register(&list_notifier, slow.mm), 0);
	cancel_in(unregister);
	CHECK_ERR(mmu_notifier_unregister(&list_notifier, slow.mm), -ENOENT);
	CHECK_ERR(mmu_range_notifier_insert(&range_notifier, PAGE(4), PAGE(1), slow.mm), 0);
	CHECK_ERR(mrn_range_notifier_remove_async(&range_notifier, slow_free_range), 0);
	cancel_in(synchronize);
	CHECK_EQ(LOAD(&slow.freed), 1);
	/* With this one there is a reaper. */
	cancel_in(get_one);
	CHECK(slow.made != NULL);
	CHECK_ERR(mmu_notifier_put(slow.made), 0);
	CHECK_ERR(mmu_notifier_synchronize(slow.mm), 0);
	CHECK_EQ(LOAD(&slow.freed), 2);
	destroy_idle(slow.mm);
}

/* What the thread's state of cancellation was, it is again. */
TEST(p4_start_and_end_leave_the_state_of_cancellation)
{
	int state;

	slow.mm = new_mm();
	CHECK_ERR(mmu_range_notifier_insert(&range_notifier, PAGE(4), PAGE(1), slow.mm), 0);
	CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL), 0);
	start_and_end(slow.mm, 4, 5);
	CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state), 0);
	CHECK_EQ(state, PTHREAD_CANCEL_DISABLE);
	start_and_end(slow.mm, 4, 5);
	CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state), 0);
	CHECK_EQ(state, PTHREAD_CANCEL_ENABLE);
	CHECK_ERR(mmu_range_notifier_remove(&range_notifier), 0);
	destroy_idle(slow.mm);
}

/* ------------------------------------------------------------------------------------- unwinding */

static void end_thread(struct consumer *c, const struct mmu_notifier_range *range)
{
	(void)c;
	(void)range;
	pthread_exit(NULL);
}

static void unwind(void *arg)
{
	struct consumer c;

	(void)arg;
	slow.mm = new_mm();
	consumer_init(&c);
	c.hook = end_thread;
	consumer_insert(&c, slow.mm, 4, 8);
	done(go(change, NULL));
}

/* A callback is left by unwinding: the process says so and aborts, rather than to go on without the end. */
TEST(callback_that_is_unwound_aborts)
{
	if (test_is_sanitized())
		SKIP("the sanitizers have unwinding of their own");
	CHECK(aborts(unwind, NULL, "mrn: a callback was left by an exception or by pthread_exit"));
}
