/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two passes in a storm: threads invalidate, some without waiting; one inserts and removes; all publish. When a start
 * has returned, no device that it overlaps has a shadow, and at the end each first pass has had its finish.
 */
#include "tests/core/two_pass.h"

enum { INVALIDATORS = 2, STORM_DEVICES = 6 };

static struct {
	struct mrn_mm *mm;
	struct device d[STORM_DEVICES];
	bool inserted[STORM_DEVICES]; /* the writer's */
	uint32_t invalidators;
	unsigned int rounds, refused, alone, removals, published;
} storm;

static bool storm_has_met(void)
{
	return LOAD(&storm.refused) && LOAD(&storm.alone) && LOAD(&storm.removals) &&
	       LOAD(&storm.published);
}

/* Between start and end: all overlap. */
static void check_none_has_a_shadow(void)
{
	for (int i = 0; i < STORM_DEVICES; i++) {
		struct device *d = &storm.d[i];

		pthread_mutex_lock(&d->lock);
		CHECK(!d->shadow);
		STORE(&storm.alone, LOAD(&storm.alone) | d->alone);
		pthread_mutex_unlock(&d->lock);
	}
}

/* So that a start often meets finishes that are in use. */
static void let_others(struct device *d)
{
	(void)d;
	sched_yield();
}

static void *storm_invalidate(void *arg)
{
	struct test_rand seed = rand_stream((uintptr_t)arg);

	for (unsigned int n = 0; test_round_is_due(n, storm.rounds) || !storm_has_met(); n++) {
		struct mmu_notifier_range r = pages(storm.mm, 1, 20);

		if (below(&seed, 2)) {
			start(&r);
		} else if (mmu_notifier_invalidate_range_start_nonblock(&r)) {
			ADD(&storm.refused, 1);
			continue;
		}
		check_none_has_a_shadow();
		end(&r);
		if (device_try(&storm.d[0]))
			ADD(&storm.published, 1);
	}
	ADD(&storm.invalidators, -1);
	return NULL;
}

/* Before the removal: of a shadow that is left, nobody is told. */
static void storm_remove(struct device *d)
{
	pthread_mutex_lock(&d->lock);
	d->shadow = false;
	pthread_mutex_unlock(&d->lock);
	device_remove(d);
	pthread_mutex_lock(&d->lock);
	CHECK(!d->in_use);
	CHECK_EQ(d->starts, d->alone + d->finishes);
	pthread_mutex_unlock(&d->lock);
	memset(&d->finish, 0xa5, sizeof(d->finish));
	ADD(&storm.removals, 1);
}

/* The first one is always there. */
static void storm_change(struct test_rand *seed)
{
	unsigned int k = 1 + below(seed, STORM_DEVICES - 1);
	struct device *d = &storm.d[k];

	STORE(&d->refuse, below(seed, 8) == 0);
	if (storm.inserted[k] && below(seed, 2)) {
		device_try(d);
		return;
	}
	if (storm.inserted[k])
		storm_remove(d);
	else
		device_insert(d, storm.mm, 2 + k, 20);
	storm.inserted[k] = !storm.inserted[k];
}

TEST(a1_storm_of_two_passes)
{
	struct test_rand seed = rand_stream(9);
	pthread_t t[INVALIDATORS];

	memset(&storm, 0, sizeof(storm));
	storm.mm = new_mm();
	storm.rounds = ROUNDS(5000);
	storm.invalidators = INVALIDATORS;
	for (int i = 0; i < STORM_DEVICES; i++) {
		device_init(&storm.d[i]);
		storm.d[i].in_finish = let_others;
	}
	device_insert(&storm.d[0], storm.mm, 2, 20);
	for (uintptr_t i = 0; i < INVALIDATORS; i++)
		t[i] = go(storm_invalidate, (void *)i);
	while (LOAD(&storm.invalidators))
		storm_change(&seed);
	for (int i = 0; i < INVALIDATORS; i++)
		done(t[i]);
	for (unsigned int k = 0; k < STORM_DEVICES; k++) {
		if (k == 0 || storm.inserted[k])
			storm_remove(&storm.d[k]);
	}
	NOTE("%u refused, %u removals, %u published", storm.refused, storm.removals,
	     storm.published);
	destroy_idle(storm.mm);
}
TWIN(a1_storm_of_two_passes, not_pinned, UNTIL_CAUGHT(BREAK(A5_FINISH_PIN)));
