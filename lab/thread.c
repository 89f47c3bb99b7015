/* SPDX-License-Identifier: BSD-3-Clause */
#include <sched.h>
#include <stdlib.h>

#include "lab/world.h"
#include "os/clock.h"
#include "os/syscall.h"

/* How long a thread lingers: until others have done LINGER_OPS operations, but at most LINGER_NS. */
#define LINGER_OPS 8
#define LINGER_NS  1000000

static __thread struct lab_thread *self;

struct lab_thread *lab_self(const struct lab *lab)
{
	return self && self->lab == lab ? self : NULL;
}

/* One generator per number, all from one seed. */
static uint64_t first_random(const struct lab *lab, uint64_t number)
{
	return (lab->config->seed + 1) * UINT64_C(0x9e3779b97f4a7c15) ^
	       (number + 1) * UINT64_C(0xd1342543de82ef95);
}

static struct lab_thread *new (struct lab *lab, const char *role)
{
	struct lab_thread *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->lab = lab;
	t->role = role;
	pthread_mutex_lock(&lab->lock);
	t->id = __atomic_fetch_add(&lab->nr_threads, 1, __ATOMIC_RELAXED);
	t->writer = t->id;
	t->random = first_random(lab, t->id);
	t->next = lab->threads;
	/* Release: others go through the list without the lock. */
	__atomic_store_n(&lab->threads, t, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&lab->lock);
	return t;
}

static void *enter(void *arg)
{
	struct lab_thread *t = arg;
	stack_t old;

	self = t;
	__atomic_store_n(&t->tid, (int)mrn_sys0(SYS_gettid), __ATOMIC_RELEASE);
	lab_crash_set_stack(t->signal_stack, &old);
	t->fn(t->arg, t);
	sigaltstack(&old, NULL);
	__atomic_store_n(&t->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

struct lab_thread *lab_thread_start_as(struct lab *lab, const char *role,
				       void (*fn)(void *arg, struct lab_thread *t), void *arg)
{
	struct lab_thread *t = new (lab, role);

	if (!t)
		return NULL;
	t->fn = fn;
	t->arg = arg;
	/* A thread that did not start stays in the list, idle, until the run ends. */
	if (pthread_create(&t->pthread, NULL, enter, t))
		return NULL;
	lab_hold(LAB_THREADS);
	return t;
}

struct lab_thread *lab_thread_start(struct lab *lab, void (*fn)(void *arg, struct lab_thread *t),
				    void *arg)
{
	return lab_thread_start_as(lab, "device", fn, arg);
}

void lab_thread_stop(struct lab_thread *t)
{
	__atomic_store_n(&t->stop, true, __ATOMIC_RELEASE);
}

void lab_thread_join(struct lab_thread *t)
{
	lab_thread_stop(t);
	lab_await_end(t);
	pthread_join(t->pthread, NULL);
	lab_let_go(LAB_THREADS);
}

bool lab_thread_stopping(const struct lab_thread *t)
{
	return __atomic_load_n(&t->stop, __ATOMIC_ACQUIRE);
}

struct lab *lab_of(const struct lab_thread *t)
{
	return t->lab;
}

/* ------------------------------------------------------------------------------------------- waiting */

/* The run, while this thread starts an invalidation whose callbacks may not block. */
static __thread struct lab *may_not_block;

void lab_forbid_sleep(struct lab *lab)
{
	may_not_block = lab;
}

void lab_might_sleep(const char *how)
{
	if (may_not_block)
		lab_sleeps(may_not_block, how);
}

/* -------------------------------------------------------------------------------------- odds, figures */

/* xorshift64*. The state is not 0. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

/* Each thread has random numbers of its own for this. */
bool lab_chance_here(unsigned int one_in)
{
	static __thread uint64_t random;
	static uint64_t number = UINT32_MAX;
	const struct lab *lab = lab_running();

	if (!random && lab)
		random = first_random(lab, __atomic_add_fetch(&number, 1, __ATOMIC_RELAXED));
	return random && !(next_random(&random) % one_in);
}

uint64_t lab_random(struct lab_thread *t)
{
	return next_random(&t->random);
}

size_t lab_below(struct lab_thread *t, size_t limit)
{
	return (size_t)((lab_random(t) >> 32) * limit >> 32);
}

bool lab_chance(struct lab_thread *t, unsigned int one_in)
{
	return !lab_below(t, one_in);
}

void lab_pause(struct lab_thread *t)
{
	if (lab_chance(t, 16))
		sched_yield();
	lab_pause_at_exit(t->lab);
}

void lab_unlock_early(struct lab_thread *t, int step, pthread_mutex_t *lock)
{
	if (!lab_is_broken(t->lab, step))
		return;
	pthread_mutex_unlock(lock);
	lab_pause(t);
	pthread_mutex_lock(lock);
}

void lab_linger(struct lab_thread *t)
{
	uint64_t left = __atomic_load_n(&t->lab->ops_left, __ATOMIC_RELAXED), until;

	if (!lab_chance(t, 4))
		return;
	/*
	 * Bounded, since the others may be waiting for this thread, or lingering, too. Bounded by time, since on a busy
	 * machine a single yield may take this long.
	 */
	until = mrn_now_ns() + LINGER_NS;
	do
		sched_yield();
	while (left - __atomic_load_n(&t->lab->ops_left, __ATOMIC_RELAXED) < LINGER_OPS &&
	       mrn_now_ns() < until);
}

void lab_count_faults(struct lab_thread *t, size_t n)
{
	t->faults += n;
	lab_event(t->lab, "a fault", LAB_SOMEWHERE, n);
}

void lab_count_retries(struct lab_thread *t, unsigned int n)
{
	unsigned int bucket = 0;

	while (bucket + 1 < LAB_RETRY_BUCKETS && n > (1u << bucket) / 2)
		bucket++;
	t->retries += n;
	t->histogram[bucket]++;
}
