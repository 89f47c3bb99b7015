/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/harness/sync.h"
#include "tests/harness/internal.h"
#include "tests/harness/raw.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <time.h>

/* Not private: a gate in memory shared with a forked child works the same. */
static long futex_wait(uint32_t *word, uint32_t value, const struct timespec *timeout)
{
	return test_raw4(SYS_futex, (long)word, FUTEX_WAIT, (long)value, (long)timeout);
}

static void futex_wake_all(uint32_t *word)
{
	test_raw4(SYS_futex, (long)word, FUTEX_WAKE, INT_MAX, 0);
}

void test_gate_open(struct test_gate *gate)
{
	__atomic_store_n(&gate->open, 1, __ATOMIC_RELEASE);
	futex_wake_all(&gate->open);
}

bool test_gate_is_open(const struct test_gate *gate)
{
	return __atomic_load_n(&gate->open, __ATOMIC_ACQUIRE) != 0;
}

void test_gate_wait(struct test_gate *gate)
{
	while (!test_gate_is_open(gate))
		futex_wait(&gate->open, 0, NULL);
}

bool test_gate_wait_ms(struct test_gate *gate, unsigned int ms)
{
	uint64_t deadline = test_now_ns() + ms * UINT64_C(1000000);

	while (!test_gate_is_open(gate)) {
		uint64_t now = test_now_ns();
		struct timespec left;

		if (now >= deadline)
			return false;
		left.tv_sec = (time_t)((deadline - now) / 1000000000);
		left.tv_nsec = (long)((deadline - now) % 1000000000);
		futex_wait(&gate->open, 0, &left);
	}
	return true;
}

void test_barrier_init(struct test_barrier *barrier, unsigned int threads)
{
	*barrier = (struct test_barrier){.threads = threads};
}

bool test_barrier_wait(struct test_barrier *barrier)
{
	/* Read before arriving: the round cannot end without this thread. */
	uint32_t round = __atomic_load_n(&barrier->round, __ATOMIC_ACQUIRE);

	if (__atomic_add_fetch(&barrier->waiting, 1, __ATOMIC_ACQ_REL) == barrier->threads) {
		__atomic_store_n(&barrier->waiting, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&barrier->round, round + 1, __ATOMIC_RELEASE);
		futex_wake_all(&barrier->round);
		return true;
	}
	while (__atomic_load_n(&barrier->round, __ATOMIC_ACQUIRE) == round)
		futex_wait(&barrier->round, round, NULL);
	return false;
}

static void *thread_main(void *arg)
{
	struct test_thread *t = arg;

	t->fn(t->arg);
	return NULL;
}

void test_thread(struct test_thread *t, void (*fn)(void *arg), void *arg)
{
	t->fn = fn;
	t->arg = arg;
	CHECK_ERR(-pthread_create(&t->id, NULL, thread_main, t), 0);
}

void test_join(struct test_thread *t)
{
	CHECK_ERR(-pthread_join(t->id, NULL), 0);
}

uint64_t test_now_ns(void)
{
	struct timespec ts;

	test_raw4(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&ts, 0, 0);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void test_sleep_ms(unsigned int ms)
{
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	while (test_raw4(SYS_nanosleep, (long)&left, (long)&left, 0, 0) == -EINTR)
		;
}

static bool until_caught;
static uint64_t first_third_ends;

void test_until_caught(void)
{
	until_caught = true;
}

void test_has_time(unsigned int timeout_s)
{
	first_third_ends = test_now_ns() + (uint64_t)timeout_s * 1000000000 / 3;
}

bool test_round_is_due(uint64_t round, uint64_t rounds)
{
	return until_caught || (round < rounds && test_now_ns() < first_third_ends);
}
