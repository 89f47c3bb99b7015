/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Building blocks for interleavings: gates, barriers, threads, random numbers.
 *
 * Gates and barriers are futexes by raw system calls: no allocation, no lock, nothing interposed, so a callback may use
 * them wherever it was called.
 */
#ifndef TESTS_HARNESS_SYNC_H
#define TESTS_HARNESS_SYNC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* One shot: closed, then open for good. Zeroed memory is a closed gate. */
struct test_gate {
	uint32_t open;
};

#define TEST_GATE_INIT ((struct test_gate){0})

void test_gate_open(struct test_gate *gate);
void test_gate_wait(struct test_gate *gate);
/* True if it was open within this time. Only for "must not have happened yet". */
bool test_gate_wait_ms(struct test_gate *gate, unsigned int ms);
bool test_gate_is_open(const struct test_gate *gate);

/* For a fixed number of threads, any number of times. */
struct test_barrier {
	uint32_t threads;
	uint32_t waiting;
	uint32_t round;
};

#define TEST_BARRIER_INIT(n) ((struct test_barrier){.threads = (n)})

void test_barrier_init(struct test_barrier *barrier, unsigned int threads);
/* True in exactly one thread of each round: the last to arrive. */
bool test_barrier_wait(struct test_barrier *barrier);

/* pthreads whose errors are failed checks. */
struct test_thread {
	pthread_t id;
	void (*fn)(void *arg);
	void *arg;
};

void test_thread(struct test_thread *t, void (*fn)(void *arg), void *arg);
void test_join(struct test_thread *t);

/*
 * For storms, which need luck. Their rounds go on while
 *
 *	test_round_is_due(i, rounds) || !what the test demands has been seen
 *
 * A round is due if it is one of the first ones, so many, in the first third of the test's time: a busy machine has fewer, and
 * the deadline ends a test without luck. All threads that bring about what is demanded ask for the same, so that none ends
 * while another needs it.
 */
bool test_round_is_due(uint64_t round, uint64_t rounds);
/* A twin's statement, for what shows in a round, but perhaps not in the first ones: rounds are due until a check fails. */
#define UNTIL_CAUGHT(statement) (test_until_caught(), (statement))
void test_until_caught(void);

uint64_t test_now_ns(void);
void test_sleep_ms(unsigned int ms);

/*
 * Random numbers, one generator per thread. All derive from one seed per process, which is noted in the test's result
 * and can be set by MRN_TEST_SEED in the environment.
 */
struct test_rand {
	uint64_t state;
};

/* stream: any number that tells the caller's generators apart, such as the thread's. */
void test_rand_init(struct test_rand *r, uint64_t stream);
uint64_t test_rand(struct test_rand *r);
/* From 0 to limit - 1; limit is not 0. */
uint64_t test_rand_below(struct test_rand *r, uint64_t limit);

#endif /* TESTS_HARNESS_SYNC_H */
