/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The order of driver locks and invalidations is reported when it is first seen: one thread, nothing waits for anything,
 * and the memory is another's. Whatever cannot wait for itself is left alone.
 */
#include "core/lock_order.h"
#include "tests/core/fixture.h"
#include "tests/harness/break.h"
#include "tests/harness/child.h"

#define FOUND(who) "mrn: " who " was called with a driver lock held that a callback takes\n"

/* What a thread does, with c inserted over the first page; all else concerns other pages. */
struct scene {
	struct consumer *c;
	struct mrn_mm *mm;
	void (*act)(const struct scene *s);
	pthread_mutex_t *held; /* by this thread, meanwhile */
	enum mmu_notifier_event event;
	void *owner;
};

static void play(void *arg)
{
	struct scene *s = arg;

	/* The parent's is not this process's. */
	s->mm = new_mm();
	consumer_insert(s->c, s->mm, 1, 2);
	if (s->held)
		pthread_mutex_lock(s->held);
	s->act(s);
	if (s->held)
		pthread_mutex_unlock(s->held);
}

/* With c's own lock held; in a child, so that the lock is too. */
static bool is_found(struct scene *s, const char *says)
{
	s->held = &s->c->lock;
	return aborts(play, s, says);
}

static bool is_silent(struct scene *s, pthread_mutex_t *held)
{
	s->held = held;
	return !aborts(play, s, "");
}

static struct mmu_notifier_range elsewhere(const struct scene *s)
{
	struct mmu_notifier_range r = pages(s->mm, 8, 9);

	r.event = s->event;
	r.owner = s->owner;
	return r;
}

static void act_start(const struct scene *s)
{
	struct mmu_notifier_range r = elsewhere(s);

	start(&r);
	end(&r);
}

static void act_start_nonblock(const struct scene *s)
{
	struct mmu_notifier_range r = elsewhere(s);

	CHECK_ERR(mmu_notifier_invalidate_range_start_nonblock(&r), 0);
	end(&r);
}

static void act_read(const struct scene *s)
{
	mmu_range_read_begin(&s->c->mrn);
}

static void act_read_until(const struct scene *s)
{
	uint64_t seq;

	CHECK_ERR(mrn_range_read_begin_until(&s->c->mrn, NULL, &seq), 0);
}

static void act_try_to_read(const struct scene *s)
{
	struct timespec now = from_now(0);
	uint64_t seq;

	CHECK_ERR(mrn_range_read_begin_until(&s->c->mrn, &now, &seq), 0);
}

static void act_remove(const struct scene *s)
{
	consumer_remove(s->c);
}

static void act_register(const struct scene *s)
{
	static const struct mmu_notifier_ops list_ops;
	static struct mmu_notifier mn = {.ops = &list_ops};

	CHECK_ERR(mmu_notifier_register(&mn, s->mm), 0);
}

static struct mmu_notifier *alloc_notifier(struct mrn_mm *mm)
{
	static struct mmu_notifier mn;

	(void)mm;
	return &mn;
}

static void free_notifier(struct mmu_notifier *mn)
{
	(void)mn;
}

static void act_get(const struct scene *s)
{
	static const struct mmu_notifier_ops list_ops = {.alloc_notifier = alloc_notifier,
							 .free_notifier = free_notifier};
	struct mmu_notifier *mn;

	CHECK_ERR(mmu_notifier_get(&list_ops, s->mm, &mn), 0);
}

static void act_might(const struct scene *s)
{
	mrn_might_invalidate(s->mm, "an allocator");
}

static void act_retry(const struct scene *s)
{
	mmu_range_read_retry(&s->c->mrn, 1);
	mmu_range_notifier_update_seq(&s->c->mrn, 1);
}

static void act_insert(const struct scene *s)
{
	struct consumer other;

	consumer_init(&other);
	other.mrn.driver_lock = &s->c->lock;
	consumer_insert(&other, s->mm, 3, 4);
}

static bool agree(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		  uint64_t cur_seq, struct mmu_range_notifier_finish **finish)
{
	(void)range;
	(void)finish;
	mmu_range_notifier_update_seq(mrn, cur_seq);
	return true;
}

static void finish_nothing(struct mmu_range_notifier_finish *finish)
{
	(void)finish;
}

/* It has no lock of its own. c's callback may come between its passes. */
static void act_remove_two_passes(const struct scene *s)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate_start = agree,
							  .invalidate_finish = finish_nothing};
	struct mmu_range_notifier mrn = {.ops = &ops};

	CHECK_ERR(mmu_range_notifier_insert(&mrn, PAGE(3), PAGE(1), s->mm), 0);
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
}

/* The driver drops its lock first. */
static void act_unlocked(const struct scene *s)
{
	pthread_mutex_unlock(&s->c->lock);
	act_start(s);
	act_read(s);
	act_remove(s);
	pthread_mutex_lock(&s->c->lock);
}

static struct scene scene_of(struct consumer *c)
{
	consumer_init(c);
	return (struct scene){.c = c, .event = MMU_NOTIFY_UNMAP};
}

static const struct {
	void (*act)(const struct scene *s);
	const char *says;
} waits_for_a_callback[] = {
	{act_start, FOUND("mmu_notifier_invalidate_range_start")},
	{act_read, FOUND("mmu_range_read_begin")},
	{act_read_until, FOUND("mrn_range_read_begin_until")},
	{act_remove, FOUND("mmu_range_notifier_remove")},
	{act_register, FOUND("mmu_notifier_register")},
	{act_get, FOUND("mmu_notifier_get")},
	{act_might, FOUND("an allocator")},
};
#define NR_WAITS (sizeof(waits_for_a_callback) / sizeof(waits_for_a_callback[0]))

TEST(whoever_may_wait_for_a_callback_must_not_hold_its_lock)
{
	struct consumer c;
	struct scene s = scene_of(&c);

	for (size_t i = 0; i < NR_WAITS; i++) {
		s.act = waits_for_a_callback[i].act;
		CHECK(is_found(&s, waits_for_a_callback[i].says));
	}
}
TWIN(whoever_may_wait_for_a_callback_must_not_hold_its_lock, unchecked, MRN_BREAK(MISUSE_CHECKS));

TEST(whoever_removes_one_with_two_passes_must_hold_no_callbacks_lock)
{
	struct consumer c;
	struct scene s = scene_of(&c);

	s.act = act_remove_two_passes;
	CHECK(is_found(&s, FOUND("mmu_range_notifier_remove")));
	CHECK(is_silent(&s, NULL));
}
TWIN(whoever_removes_one_with_two_passes_must_hold_no_callbacks_lock, own_lock_alone,
     MRN_BREAK(ORDER_FINISH));

TEST(whoever_holds_no_lock_that_a_callback_takes_is_left_alone)
{
	pthread_mutex_t another = PTHREAD_MUTEX_INITIALIZER;
	struct consumer c;
	struct scene s = scene_of(&c);

	for (size_t i = 0; i < NR_WAITS; i++) {
		s.act = waits_for_a_callback[i].act;
		CHECK(is_silent(&s, NULL));
		CHECK(is_silent(&s, &another));
	}
	s.act = act_unlocked;
	CHECK(is_silent(&s, &c.lock));
}
TWIN(whoever_holds_no_lock_that_a_callback_takes_is_left_alone, any_holder, MRN_BREAK(ORDER_OWNER));

TEST(whatever_waits_for_no_callback_is_left_alone)
{
	struct consumer c;
	struct scene s = scene_of(&c);

	void (*const acts[])(const struct scene *s) = {act_start_nonblock, act_try_to_read,
						       act_retry, act_insert};

	for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
		s.act = acts[i];
		CHECK(is_silent(&s, &c.lock));
	}
	/* Its callback skips it. */
	s.act = act_start;
	s.owner = &c;
	CHECK(is_silent(&s, &c.lock));
}
TWIN(whatever_waits_for_no_callback_is_left_alone, all_calls, MRN_BREAK(ORDER_WAITS));

TEST(events_that_no_callback_is_told_of_are_left_alone)
{
	struct consumer c;
	struct scene s = scene_of(&c);

	s.act = act_start;
	c.mrn.events = 1u << MMU_NOTIFY_CLEAR;
	CHECK(is_silent(&s, &c.lock));
	s.event = MMU_NOTIFY_CLEAR;
	CHECK(is_found(&s, FOUND("mmu_notifier_invalidate_range_start")));
	s.event = MMU_NOTIFY_RELEASE;
	CHECK(is_found(&s, FOUND("mmu_notifier_invalidate_range_start")));
	/* A read may wait for any. */
	s.act = act_read;
	CHECK(is_found(&s, FOUND("mmu_range_read_begin")));
}
TWIN(events_that_no_callback_is_told_of_are_left_alone, all_events, MRN_BREAK(ORDER_EVENTS));

static void *hold(void *arg)
{
	struct consumer *c = arg;

	pthread_mutex_lock(&c->lock);
	test_gate_open(c->entered);
	test_gate_wait(c->leave);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

TEST(locks_that_another_thread_holds_are_left_alone)
{
	struct test_gate held, drop;
	struct consumer c;
	struct scene s = scene_of(&c);
	pthread_t t;

	memset(&held, 0, sizeof(held));
	memset(&drop, 0, sizeof(drop));
	c.entered = &held;
	c.leave = &drop;
	t = go(hold, &c);
	test_gate_wait(&held);
	s.mm = new_mm();
	consumer_insert(&c, s.mm, 1, 2);
	act_start(&s);
	act_read(&s);
	act_remove(&s);
	test_gate_open(&drop);
	done(t);
}
TWIN(locks_that_another_thread_holds_are_left_alone, any_holder, MRN_BREAK(ORDER_OWNER),
     .accept_abort = true);

/* Two notifiers have one lock: it is known until the second is gone. */
static void remove_one(const struct scene *s)
{
	struct consumer other;

	consumer_init(&other);
	other.mrn.driver_lock = &s->c->lock;
	consumer_insert(&other, s->mm, 3, 4);
	consumer_remove(&other);
	pthread_mutex_lock(&s->c->lock);
	act_start(s);
}

static void remove_all(const struct scene *s)
{
	consumer_remove(s->c);
	pthread_mutex_lock(&s->c->lock);
	act_start(s);
	act_might(s);
}

static void free_fn(struct mmu_range_notifier *mrn)
{
	(void)mrn;
}

static void remove_all_async(const struct scene *s)
{
	CHECK_ERR(mrn_range_notifier_remove_async(&s->c->mrn, free_fn), 0);
	CHECK_ERR(mmu_notifier_synchronize(s->mm), 0);
	pthread_mutex_lock(&s->c->lock);
	act_start(s);
}

/* Fails where the notifier belongs already. */
static void insert_twice(const struct scene *s)
{
	CHECK_ERR(mmu_range_notifier_insert(&s->c->mrn, PAGE(4), PAGE(1), s->mm), -EBUSY);
	remove_all(s);
}

TEST(locks_are_known_as_long_as_a_notifier_has_them)
{
	struct consumer c;
	struct scene s = scene_of(&c);

	s.act = remove_one;
	CHECK(aborts(play, &s, FOUND("mmu_notifier_invalidate_range_start")));
	s.act = remove_all;
	CHECK(!aborts(play, &s, ""));
	s.act = remove_all_async;
	CHECK(!aborts(play, &s, ""));
	s.act = insert_twice;
	CHECK(!aborts(play, &s, ""));
}
TWIN(locks_are_known_as_long_as_a_notifier_has_them, never_dropped, MRN_BREAK(ORDER_DROP));

static void act_elsewhere(const struct scene *s)
{
	struct scene other = *s;

	other.mm = new_mm();
	act_start(&other);
	act_might(&other);
}

TEST(another_mm_takes_other_locks)
{
	struct consumer c;
	struct scene s = scene_of(&c);

	s.act = act_elsewhere;
	CHECK(is_silent(&s, &c.lock));
}

TEST(recursive_mutexes_are_left_alone)
{
	pthread_mutexattr_t attr;
	struct consumer c;
	struct scene s = scene_of(&c);

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&c.lock, &attr);
	s.act = act_start;
	CHECK(is_silent(&s, &c.lock));
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&c.lock, &attr);
	CHECK(is_found(&s, FOUND("mmu_notifier_invalidate_range_start")));
}

/* As many locks as an mm knows, and one more, which is not looked at; then there is room for it. */
static void insert_many(const struct scene *s)
{
	static struct consumer many[MRN_DRIVER_LOCKS];

	for (unsigned int i = 0; i < MRN_DRIVER_LOCKS; i++) {
		consumer_init(&many[i]);
		consumer_insert(&many[i], s->mm, 3, 4);
	}
	/* c was the first. */
	pthread_mutex_lock(&many[MRN_DRIVER_LOCKS - 1].lock);
	act_start(s);
	consumer_remove(&many[MRN_DRIVER_LOCKS - 1]);
	consumer_remove(&many[0]);
	consumer_insert(&many[MRN_DRIVER_LOCKS - 1], s->mm, 3, 4);
	act_start(s);
}

TEST(further_locks_are_not_looked_at)
{
	struct consumer c;
	struct scene s = scene_of(&c);

	s.act = insert_many;
	CHECK(aborts(play, &s, FOUND("mmu_notifier_invalidate_range_start")));
}

/* The report says where the callback has held the lock, once it has been seen to. */
static void invalidate_first(const struct scene *s)
{
	start_and_end(s->mm, 1, 2);
	pthread_mutex_lock(&s->c->lock);
	act_start(s);
}

TEST(the_report_has_both_places)
{
	struct consumer c;
	struct scene s = scene_of(&c);

	s.act = act_start;
	CHECK(is_found(&s, "mrn:   called from "));
	CHECK(is_found(&s, "test-core_lock_order(+0x"));
	CHECK(is_found(&s, "mrn:   the callback "));
	s.act = invalidate_first;
	s.held = NULL;
	CHECK(aborts(play, &s, "mrn:   holds it at  "));
}
