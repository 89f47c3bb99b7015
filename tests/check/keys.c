/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/keys.h"

#include <pthread.h>
#include <stdio.h>

#include "check/shared/check.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"

static struct check_keys keys;

static struct check_key key(uint64_t number)
{
	return (struct check_key){(uintptr_t)&keys, number};
}

/* The words of a value belong together, and to its key. */
static struct check_value value(uint64_t number)
{
	return (struct check_value){.word = {number, ~number, number << 1, number ^ 1}};
}

static bool is(const struct check_value *v, uint64_t number)
{
	return v->word[0] == number && v->word[1] == ~number && v->word[2] == number << 1 &&
	       v->word[3] == (number ^ 1);
}

TEST(a_key_has_its_value_until_it_is_taken)
{
	struct check_value v;
	struct check_key other = {(uintptr_t)&v, 7};

	CHECK(!check_keys_find(&keys, key(7), &v));
	CHECK_ERR(check_keys_put(&keys, key(7), value(7)), 0);
	CHECK(!check_keys_find(&keys, other, &v));
	CHECK(!check_keys_find(&keys, key(8), &v));
	CHECK(check_keys_find(&keys, key(7), &v) && is(&v, 7));
	CHECK(check_keys_take(&keys, key(7), &v) && is(&v, 7));
	CHECK(!check_keys_take(&keys, key(7), &v));
	CHECK(!check_keys_find(&keys, key(7), &v));
	CHECK_ERR(check_keys_put(&keys, key(7), value(9)), 0);
	CHECK(check_keys_find(&keys, key(7), &v) && is(&v, 9));
}

static void add(const struct check_value *v, void *sum)
{
	*(uint64_t *)sum += v->word[0];
}

TEST(a_key_may_have_several_values)
{
	struct check_value v;
	uint64_t sum = 0;

	for (uint64_t i = 1; i < 10; i++)
		CHECK_ERR(check_keys_put(&keys, key(7), value(i)), 0);
	CHECK_ERR(check_keys_put(&keys, key(8), value(100)), 0);
	CHECK(check_keys_take_first(&keys, key(7), 5, &v) && is(&v, 5));
	CHECK(!check_keys_take_first(&keys, key(7), 5, &v));
	CHECK(!check_keys_take_first(&keys, key(7), 100, &v));
	check_keys_each(&keys, key(7), add, &sum);
	CHECK_EQ(sum, 45 - 5);
	for (int i = 0; i < 8; i++) {
		CHECK(check_keys_take(&keys, key(7), &v));
		CHECK(is(&v, v.word[0]));
	}
	CHECK(!check_keys_take(&keys, key(7), &v));
}

#define MANY 200000

TEST(there_is_room_for_many)
{
	struct check_value v;

	for (uint64_t i = 0; i < MANY; i++)
		CHECK_ERR(check_keys_put(&keys, key(i << 8), value(i)), 0);
	for (uint64_t i = 0; i < MANY; i++)
		CHECK(check_keys_find(&keys, key(i << 8), &v) && is(&v, i));
	for (uint64_t i = 0; i < MANY; i += 2)
		CHECK(check_keys_take(&keys, key(i << 8), &v));
	for (uint64_t i = 0; i < MANY; i++)
		CHECK_EQ(check_keys_find(&keys, key(i << 8), &v), i % 2);
	check_keys_clear(&keys);
	for (uint64_t i = 0; i < MANY; i++)
		CHECK(!check_keys_find(&keys, key(i << 8), &v));
}

/* Pages of the process that are in memory. */
static long resident(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long all, in_memory;

	CHECK(f && fscanf(f, "%ld %ld", &all, &in_memory) == 2);
	fclose(f);
	return in_memory;
}

TEST(memory_follows_those_that_are_there_at_one_time)
{
	struct check_value v;
	long before = 0;

	for (uint64_t i = 0; i < 2000000; i++) {
		CHECK_ERR(check_keys_put(&keys, key(i * 4096), value(i)), 0);
		if (i >= 10)
			CHECK(check_keys_take(&keys, key((i - 10) * 4096), &v));
		if (i == 200000)
			before = resident();
	}
	NOTE("pages more after 1.8 million keys: %ld", resident() - before);
	CHECK(resident() - before < 512);
}

TEST(a_value_is_replaced)
{
	struct check_value v;

	for (uint64_t i = 1; i < 4; i++)
		CHECK_ERR(check_keys_put(&keys, key(7), value(i)), 0);
	CHECK_ERR(check_keys_put(&keys, key(8), value(8)), 0);
	CHECK_ERR(check_keys_replace(&keys, key(7), value(5)), 0);
	CHECK(check_keys_take(&keys, key(7), &v) && is(&v, 5));
	CHECK(!check_keys_take(&keys, key(7), &v));
	CHECK_ERR(check_keys_replace(&keys, key(7), value(6)), 0);
	CHECK(check_keys_find(&keys, key(7), &v) && is(&v, 6));
	CHECK(check_keys_find(&keys, key(8), &v) && is(&v, 8));
}

/* Some keys stay, and are found by all; others come and go, and are either not there or whole. */
#define STAY	    64
#define COME_AND_GO 2
static bool over;

/* The words belong together, and to the key, and are different ones each time. */
static bool belongs(const struct check_value *v, uint64_t number)
{
	return is(v, v->word[0]) && v->word[0] % COME_AND_GO == number % COME_AND_GO;
}

static void come_and_go(void *arg)
{
	uint64_t n = (uint64_t)(uintptr_t)arg << 32;
	struct check_value v;

	for (; !__atomic_load_n(&over, __ATOMIC_RELAXED); n++) {
		struct check_key k = key(1000 + n % COME_AND_GO);

		CHECK_ERR(check_keys_put(&keys, k, value(n)), 0);
		if (check_keys_take(&keys, k, &v))
			CHECK(belongs(&v, n));
	}
}

static void look(void *arg)
{
	struct check_value v;

	for (uint64_t n = 0; test_round_is_due(n, 3000000); n++) {
		CHECK(check_keys_find(&keys, key(n % STAY), &v) && is(&v, n % STAY));
		if (check_keys_find(&keys, key(1000 + n % COME_AND_GO), &v))
			CHECK(belongs(&v, n));
	}
}

TEST(threads_find_whole_values)
{
	struct test_thread thread[4];

	for (uint64_t i = 0; i < STAY; i++)
		CHECK_ERR(check_keys_put(&keys, key(i), value(i)), 0);
	for (uintptr_t i = 0; i < 4; i++)
		test_thread(&thread[i], i < 2 ? look : come_and_go, (void *)i);
	for (int i = 0; i < 4; i++) {
		test_join(&thread[i]);
		__atomic_store_n(&over, i > 0, __ATOMIC_RELAXED);
	}
}
TWIN(threads_find_whole_values, no_second_look, UNTIL_CAUGHT(MRN_BREAK(CHECK_KEYS_TORN)));

static bool replaced;

static void replace(void *arg)
{
	for (uint64_t n = (uintptr_t)arg;
	     test_round_is_due(n, test_is_sanitized() ? 20000 : 300000); n += 3)
		CHECK_ERR(check_keys_replace(&keys, key(7), value(n)), 0);
	__atomic_store_n(&replaced, true, __ATOMIC_RELAXED);
}

/* At any time, and in the end. */
TEST(a_key_that_has_a_value_keeps_one)
{
	struct test_thread thread[3];
	struct check_value v;

	CHECK_ERR(check_keys_put(&keys, key(7), value(0)), 0);
	for (uintptr_t i = 0; i < 3; i++)
		test_thread(&thread[i], replace, (void *)i);
	while (!__atomic_load_n(&replaced, __ATOMIC_RELAXED)) {
		CHECK(check_keys_find(&keys, key(7), &v));
		CHECK(is(&v, v.word[0]));
	}
	for (int i = 0; i < 3; i++)
		test_join(&thread[i]);
	CHECK(check_keys_find(&keys, key(7), &v));
}
TWIN(a_key_that_has_a_value_keeps_one, taken_first, UNTIL_CAUGHT(MRN_BREAK(CHECK_KEYS_GAP)));
TWIN(a_key_that_has_a_value_keeps_one, walks_once, UNTIL_CAUGHT(MRN_BREAK(CHECK_KEYS_PASSED)));
