/* SPDX-License-Identifier: BSD-3-Clause */
/* Registrations that a device refuses to end: each is kept, has its place, and is tried again in its turn. */
#include "adapters/registrations.h"

#include <errno.h>

#include "adapters/check.h"
#include "tests/harness/break.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"

#define MOST 8

/* A device whose registrations are numbers. */
static struct {
	bool refuses[MOST];
	unsigned int tries[MOST], ended[MOST];
} device;

static bool end(void *ctx, mrn_handle handle)
{
	device.tries[handle.u64]++;
	if (device.refuses[handle.u64])
		return false;
	device.ended[handle.u64]++;
	return true;
}

static void open_device(struct mrn_registrations *r, unsigned int nr)
{
	*r = (struct mrn_registrations){.end = end};
	CHECK_ERR(mrn_registrations_init(r, nr), 0);
}

/* Registers nr, which the device then refuses to end, all of them. */
static void make_stuck(struct mrn_registrations *r, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		CHECK_ERR(mrn_registrations_take(r), 0);
	for (unsigned int i = 0; i < nr; i++) {
		device.refuses[i] = true;
		mrn_registrations_end(r, (mrn_handle){.u64 = i});
	}
	CHECK_EQ(mrn_registrations_stuck(r), nr);
}

static void registers_once(struct mrn_registrations *r)
{
	CHECK_ERR(mrn_registrations_take(r), 0);
	mrn_registrations_put(r);
}

TEST(places_are_counted)
{
	struct mrn_registrations r;

	open_device(&r, 2);
	CHECK_ERR(mrn_registrations_take(&r), 0);
	CHECK_ERR(mrn_registrations_take(&r), 0);
	CHECK_ERR(mrn_registrations_take(&r), -ENOSPC);
	mrn_registrations_put(&r);
	CHECK_ERR(mrn_registrations_take(&r), 0);
	mrn_registrations_end(&r, (mrn_handle){.u64 = 1});
	CHECK_EQ(device.ended[1], 1);
	CHECK_ERR(mrn_registrations_take(&r), 0);
	mrn_registrations_destroy(&r);
}

TEST(a_stuck_one_has_its_place)
{
	struct mrn_registrations r;

	open_device(&r, 2);
	make_stuck(&r, 2);
	CHECK_ERR(mrn_registrations_take(&r), -ENOSPC);
	device.refuses[0] = false;
	CHECK_ERR(mrn_registrations_take(&r), 0);
	CHECK_ERR(mrn_registrations_take(&r), -ENOSPC);
	CHECK_EQ(mrn_registrations_stuck(&r), 1);
	CHECK_EQ(device.ended[0], 1);
	mrn_registrations_destroy(&r);
}
TWIN(a_stuck_one_has_its_place, counts_as_gone, BREAK(REGISTRATIONS_STUCK));

/* Whichever it is that the device never ends. */
TEST(one_keeps_no_other_from_its_turn)
{
	enum { NR = 4 };

	for (unsigned int never = 0; never < NR; never++) {
		struct mrn_registrations r;

		open_device(&r, NR + 1);
		make_stuck(&r, NR);
		for (unsigned int i = 0; i < NR; i++)
			device.refuses[i] = i == never;
		for (unsigned int i = 0; i < 2; i++)
			registers_once(&r);
		CHECK_EQ(mrn_registrations_stuck(&r), 1);
		for (unsigned int i = 0; i < NR; i++) {
			CHECK_EQ(device.ended[i], i != never);
			device.ended[i] = 0;
		}
		mrn_registrations_destroy(&r);
	}
}
TWIN(one_keeps_no_other_from_its_turn, always_the_same, BREAK(REGISTRATIONS_TURN));

/* And each of those that are refused has a turn, too. */
TEST(one_is_tried_at_a_time)
{
	enum { NR = 3 };
	struct mrn_registrations r;

	open_device(&r, NR + 1);
	make_stuck(&r, NR);
	for (unsigned int i = 0; i < NR; i++)
		device.tries[i] = 0;
	for (unsigned int i = 0; i < 2 * NR; i++)
		registers_once(&r);
	for (unsigned int i = 0; i < NR; i++)
		CHECK_EQ(device.tries[i], 2);
	mrn_registrations_end_stuck(&r);
	for (unsigned int i = 0; i < NR; i++)
		CHECK_EQ(device.tries[i], 3);
	mrn_registrations_destroy(&r);
}
TWIN(one_is_tried_at_a_time, always_the_same, BREAK(REGISTRATIONS_TURN));

TEST(all_are_tried_where_there_is_no_place)
{
	enum { NR = 4 };
	struct mrn_registrations r;

	open_device(&r, NR);
	make_stuck(&r, NR);
	/* The last in the queue. */
	device.refuses[NR - 1] = false;
	CHECK_ERR(mrn_registrations_take(&r), 0);
	CHECK_EQ(mrn_registrations_stuck(&r), NR - 1);
	mrn_registrations_destroy(&r);
}

/* ---------------------------------------------------------------------------------------------- storm */

enum { PLACES = 6, THREADS = 3 };

static struct mrn_registrations shared;
static uint64_t made, undone, refused;

/* Refuses every third, in whatever order. */
static bool end_some(void *ctx, mrn_handle handle)
{
	static uint64_t calls;

	if (__atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) % 3 == 0) {
		__atomic_fetch_add(&refused, 1, __ATOMIC_RELAXED);
		return false;
	}
	/* Zero once it has ended. */
	CHECK_EQ(__atomic_exchange_n((uint32_t *)handle.ptr, 0, __ATOMIC_RELAXED), 1);
	__atomic_fetch_add(&undone, 1, __ATOMIC_RELAXED);
	return true;
}

static void register_and_end(void *arg)
{
	static uint32_t alive[THREADS * 3000];
	uint32_t *mine = alive + 3000 * (uintptr_t)arg;

	for (unsigned int i = 0; i < 3000; i++) {
		if (mrn_registrations_take(&shared))
			continue;
		mine[i] = 1;
		__atomic_fetch_add(&made, 1, __ATOMIC_RELAXED);
		mrn_registrations_end(&shared, (mrn_handle){.ptr = &mine[i]});
	}
}

TEST(threads_end_each_once)
{
	struct test_thread threads[THREADS];

	shared.end = end_some;
	CHECK_ERR(mrn_registrations_init(&shared, PLACES), 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		test_thread(&threads[i], register_and_end, (void *)i);
	for (unsigned int i = 0; i < THREADS; i++)
		test_join(&threads[i]);
	while (mrn_registrations_stuck(&shared))
		mrn_registrations_end_stuck(&shared);
	NOTE("made %ju, refused %ju", (uintmax_t)made, (uintmax_t)refused);
	CHECK_EQ(undone, made);
	/* Every place is there again. */
	for (unsigned int i = 0; i < PLACES; i++)
		CHECK_ERR(mrn_registrations_take(&shared), 0);
	CHECK_ERR(mrn_registrations_take(&shared), -ENOSPC);
	mrn_registrations_destroy(&shared);
}
TWIN(threads_end_each_once, counts_as_gone, BREAK(REGISTRATIONS_STUCK));
