/* SPDX-License-Identifier: BSD-3-Clause */
/* The lock of an mm's index: exclusion, no writer starved, and a reader in a signal handler. */
#include "os/rwlock.h"

#include "tests/core/fixture.h"

/* -------------------------------------------------------------------------------------- stress */

static struct {
	struct mrn_rwlock lock;
	uint64_t a, b; /* plain: equal unless a writer is at work */
	unsigned int readers, writers;
	unsigned int together; /* most readers at one time */
} s;

static void *stress_read(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS(30000); i++) {
		unsigned int n;

		mrn_read_lock(&s.lock);
		n = ADD(&s.readers, 1);
		CHECK_EQ(LOAD(&s.writers), 0);
		CHECK_EQ(s.a, s.b);
		if (n > LOAD(&s.together))
			STORE(&s.together, n);
		if (i % 64 == 0)
			sched_yield();
		ADD(&s.readers, -1);
		mrn_read_unlock(&s.lock);
	}
	return NULL;
}

static void *stress_write(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS(15000); i++) {
		mrn_sigmask mask = mrn_write_lock(&s.lock);

		CHECK_EQ(ADD(&s.writers, 1), 1);
		CHECK_EQ(LOAD(&s.readers), 0);
		s.a++;
		if (i % 64 == 0)
			sched_yield();
		s.b++;
		ADD(&s.writers, -1);
		mrn_write_unlock(&s.lock, mask);
	}
	return NULL;
}

TEST(rwlock_readers_and_writers)
{
	enum { READERS = 3, WRITERS = 2 };
	pthread_t t[READERS + WRITERS];

	memset(&s, 0, sizeof(s));
	for (int i = 0; i < READERS + WRITERS; i++)
		t[i] = go(i < READERS ? stress_read : stress_write, NULL);
	for (int i = 0; i < READERS + WRITERS; i++)
		done(t[i]);
	CHECK_EQ(s.a, (uint64_t)WRITERS * ROUNDS(15000));
	CHECK_EQ(s.b, s.a);
	CHECK_EQ(s.lock.word, 0);
	NOTE("at most %u readers together", s.together);
}

/* ------------------------------------------------------------------------------- who goes first */

static struct {
	struct mrn_rwlock lock;
	int writer_tid, reader_tid;
	bool wrote, read, handled;
	struct test_gate write_now;
} q;

static void *queue_writer(void *arg)
{
	mrn_sigmask mask;

	(void)arg;
	STORE(&q.writer_tid, my_tid());
	mask = mrn_write_lock(&q.lock);
	CHECK(!q.read);
	q.wrote = true;
	mrn_write_unlock(&q.lock, mask);
	return NULL;
}

static void *queue_reader(void *arg)
{
	(void)arg;
	STORE(&q.reader_tid, my_tid());
	mrn_read_lock(&q.lock);
	CHECK(q.wrote);
	q.read = true;
	mrn_read_unlock(&q.lock);
	return NULL;
}

static void read_in_handler(int sig)
{
	(void)sig;
	mrn_read_lock(&q.lock);
	CHECK(!q.wrote);
	mrn_read_unlock(&q.lock);
	STORE(&q.handled, true);
}

/*
 * A reader holds the lock, a writer waits, another reader queues behind the writer; and a handler
 * that interrupts the first reader reads past them both.
 */
TEST(rwlock_handler_of_a_reader_passes_a_waiting_writer)
{
	struct sigaction sa = {.sa_handler = read_in_handler};
	pthread_t writer, reader;

	memset(&q, 0, sizeof(q));
	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	mrn_read_lock(&q.lock);
	writer = go(queue_writer, NULL);
	await_sleep(&q.writer_tid);
	reader = go(queue_reader, NULL);
	await_sleep(&q.reader_tid);
	CHECK(!q.wrote && !q.read);
	raise(SIGUSR1);
	CHECK(LOAD(&q.handled));
	CHECK(!q.wrote && !q.read);
	mrn_read_unlock(&q.lock);
	done(writer);
	done(reader);
	CHECK(q.wrote && q.read);
	CHECK_EQ(q.lock.word, 0);
}

/* Handlers that read, over threads that read and write: a writer is never interrupted. */
static struct {
	struct mrn_rwlock lock;
	uint64_t a, b;
	unsigned int handled;
	bool over;
} h;

static void read_any_time(int sig)
{
	(void)sig;
	mrn_read_lock(&h.lock);
	CHECK_EQ(h.a, h.b);
	mrn_read_unlock(&h.lock);
	ADD(&h.handled, 1);
}

static void *both_ways(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; !LOAD(&h.over); i++) {
		/* Lets the sender have a processor. */
		if (i % 1024 == 0)
			sched_yield();
		if (i % 3 == 0) {
			mrn_sigmask mask = mrn_write_lock(&h.lock);

			h.a++;
			h.b++;
			mrn_write_unlock(&h.lock, mask);
		} else {
			mrn_read_lock(&h.lock);
			CHECK_EQ(h.a, h.b);
			mrn_read_unlock(&h.lock);
		}
	}
	return NULL;
}

TEST(rwlock_handlers_at_any_time)
{
	struct sigaction sa = {.sa_handler = read_any_time};
	pthread_t t[2];

	SKIP_HANDLERS_ANY_TIME();
	memset(&h, 0, sizeof(h));
	CHECK_EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	for (int i = 0; i < 2; i++)
		t[i] = go(both_ways, NULL);
	/* Paced, but not waited for without end: see core_signal.c. */
	for (int i = 0; i < ROUNDS(1000); i++) {
		unsigned int before = LOAD(&h.handled);

		CHECK_EQ(pthread_kill(t[i % 2], SIGUSR1), 0);
		for (int k = 0; k < 1000 && LOAD(&h.handled) == before; k++)
			sched_yield();
	}
	STORE(&h.over, true);
	for (int i = 0; i < 2; i++)
		done(t[i]);
	CHECK_EQ(h.lock.word, 0);
	NOTE("%u signals, %llu writes", h.handled, (unsigned long long)h.a);
}
