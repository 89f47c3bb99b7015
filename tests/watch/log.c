/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log between a watched program and the tool, both sides in one process: what is written is read, once
 * and whole, or counted as dropped; and the table that pairs ends with starts.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mrn/mmu_notifier.h>

#include "os/syscall.h"
#include "tests/harness/break.h"
#include "tests/harness/test.h"
#include "watch/tool/histogram.h"
#include "watch/tool/reader.h"
#include "watch/record/lane.h"
#include "watch/record/open.h"

#define THREADS 4

static struct watch_reader tool;
static uint64_t seen, next_of[THREADS];

/* Every field of a record says the same, and each writer's come in order. */
static struct watch_record record_of(uint32_t writer, uint64_t n)
{
	return (struct watch_record){.begin = n,
				     .end = ~n,
				     .start = n * 3,
				     .stop = n * 5,
				     .site = n * 7,
				     .via = n * 11,
				     .pid = (uint32_t)n,
				     .tid = writer};
}

static void check_record(void *arg, const struct watch_record *r, const struct watch_lane *lane)
{
	struct watch_record want = record_of(r->tid, r->begin);

	CHECK(r->tid < THREADS);
	CHECK(!memcmp(r, &want, offsetof(struct watch_record, turn)));
	CHECK(r->begin >= next_of[r->tid]);
	next_of[r->tid] = r->begin + 1;
	seen++;
}

static const struct watch_sink sink = {.record = check_record};

static void open_log(uint32_t shift)
{
	char name[64];

	CHECK_ERR(watch_reader_create(&tool, shift, 0), 0);
	watch_reader_name(&tool, name, sizeof(name));
	CHECK_EQ(setenv(WATCH_ENVIRONMENT, name, 1), 0);
	CHECK(watch_log_open());
	CHECK_ERR(watch_lane_take(1), 0);
}

static void put_many(uint32_t writer, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		struct watch_record r = record_of(writer, i);

		watch_lane_put(&r);
	}
}

/* Nobody reads: what fits is kept, the rest is counted. Twice, so that the ring has gone round. */
TEST(a_full_ring_drops)
{
	open_log(4);
	put_many(0, 100);
	CHECK_EQ(watch_reader_dropped(&tool), 84);
	CHECK_ERR(watch_reader_start(&tool, &sink), 0);
	watch_reader_finish(&tool);
	CHECK_EQ(seen, 16);
	CHECK_EQ(watch_reader_dropped(&tool), 84);
	next_of[0] = 0;
	put_many(0, 20);
	CHECK_ERR(watch_reader_start(&tool, &sink), 0);
	watch_reader_finish(&tool);
	CHECK_EQ(seen + watch_reader_dropped(&tool), 120);
}
TWIN(a_full_ring_drops, uncounted, BREAK(WATCH_DROPS));
TWIN(a_full_ring_drops, overwritten, BREAK(WATCH_TURN));

static void *writer(void *arg)
{
	put_many((uint32_t)(uintptr_t)arg, test_is_sanitized() ? 20000 : 200000);
	return NULL;
}

TEST(many_writers, .timeout_s = 120)
{
	uint64_t put = THREADS * (test_is_sanitized() ? 20000 : 200000);
	pthread_t t[THREADS];

	open_log(8);
	CHECK_ERR(watch_reader_start(&tool, &sink), 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, writer, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	watch_reader_finish(&tool);
	NOTE("seen %lu dropped %lu", (unsigned long)seen,
	     (unsigned long)watch_reader_dropped(&tool));
	CHECK_EQ(seen + watch_reader_dropped(&tool), put);
	CHECK_EQ(watch_reader_unpaired(&tool), 0);
	CHECK(seen > 0);
}
TWIN(many_writers, uncounted, BREAK(WATCH_DROPS));
TWIN(many_writers, overwritten, BREAK(WATCH_TURN));

/* A million short-lived processes may follow each other: each has the pages that it writes to, and no more. */
TEST(a_lane_takes_the_memory_that_it_uses)
{
	struct stat st;
	int status;
	pid_t pid;

	open_log(16);
	watch_lane_leave();
	CHECK_ERR(watch_reader_start(&tool, &sink), 0);
	pid = fork();
	if (!pid)
		_exit(watch_lane_take(1) ? 1 : (put_many(0, 3), 0));
	CHECK(pid > 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	watch_reader_finish(&tool);
	CHECK_EQ(seen, 3);
	CHECK_EQ(fstat(tool.fd, &st), 0);
	CHECK_MSG((uint64_t)st.st_blocks * 512 < tool.header->lane_size / 8, "%lu bytes",
		  (unsigned long)st.st_blocks * 512);
}
TWIN(a_lane_takes_the_memory_that_it_uses, whole, BREAK(WATCH_RENEW));

/* A slot that a killed process has taken and not filled is passed over, and its lane serves again. */
TEST(a_killed_writer_holds_up_nobody)
{
	enum { ROUNDS = 50 };
	pid_t pid;

	open_log(4);
	watch_lane_leave();
	CHECK_ERR(watch_reader_start(&tool, &sink), 0);
	for (int round = 0; round < ROUNDS; round++) {
		pid = fork();
		if (!pid) {
			if (watch_lane_take(1))
				_exit(1);
			put_many(0, 3);
			watch_lane_mine()->head++;
			put_many(1, 3);
			_exit(0);
		}
		CHECK(pid > 0);
		int status;

		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK_EQ(status, 0);
		/* Its lane is given back the next time that the tool looks, which is soon. */
		while (__atomic_load_n(&tool.header->lane[1].owner, __ATOMIC_ACQUIRE))
			sched_yield();
		pthread_mutex_lock(&tool.lock);
		next_of[0] = next_of[1] = 0;
		pthread_mutex_unlock(&tool.lock);
	}
	watch_reader_finish(&tool);
	CHECK_EQ(seen, ROUNDS * 6);
	CHECK_EQ(watch_reader_unpaired(&tool), ROUNDS);
	CHECK_EQ(watch_reader_dropped(&tool), 0);
}

/* So often at least. */
static void look(unsigned int n)
{
	while (n--) {
		CHECK_ERR(watch_reader_start(&tool, &sink), 0);
		watch_reader_finish(&tool);
		tool.stop = 0;
	}
}

/*
 * A handler has left one by longjmp: it costs its record, and its slot, but nobody else's. Whoever comes back to it late
 * after all changes nothing.
 */
TEST(a_writer_that_never_comes_back)
{
	struct watch_record *slot;
	uint32_t turn = 0;

	open_log(4);
	put_many(0, 3);
	slot = &watch_ring(watch_lane_mine())[watch_lane_mine()->head++];
	put_many(1, 11);
	look(3);
	CHECK_EQ(seen, 14);
	CHECK_EQ(slot->turn, WATCH_SKIPPED);
	CHECK(!__atomic_compare_exchange_n(&slot->turn, &turn, 1, false, __ATOMIC_RELEASE,
					   __ATOMIC_RELAXED));
	/* The ring goes round, past it. */
	for (unsigned int n = 0; n < 100; n++) {
		next_of[2] = 0;
		put_many(2, 7);
		look(1);
	}
	CHECK_EQ(seen, 14 + 700);
	CHECK_EQ(watch_reader_dropped(&tool), 1);
	CHECK_EQ(slot->turn, WATCH_SKIPPED);
}
TWIN(a_writer_that_never_comes_back, waited_for, BREAK(WATCH_SKIP));

/*
 * A handler comes where a thread has taken its slot, and forks. In the child it goes on where it was: that must not be seen in the
 * parent's lane, nor stand in the way of what the child records in its own.
 */
TEST(a_fork_in_the_middle_of_a_record)
{
	struct watch_record *slot, r = record_of(1, 0);
	int status;
	pid_t pid;

	open_log(4);
	slot = watch_ring(watch_lane_mine());
	watch_lane_mine()->head++;
	pid = fork();
	if (!pid) {
		watch_lane_leave();
		slot->turn = 1;
		if (watch_lane_take(1))
			_exit(1);
		slot->turn = 1;
		put_many(0, 3);
		_exit(0);
	}
	CHECK(pid > 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(slot->turn, 0);
	memcpy(slot, &r, offsetof(struct watch_record, turn));
	slot->turn = 1;
	CHECK_ERR(watch_reader_start(&tool, &sink), 0);
	watch_reader_finish(&tool);
	CHECK_EQ(seen, 3 + 1);
	CHECK_EQ(watch_reader_dropped(&tool), 0);
}
TWIN(a_fork_in_the_middle_of_a_record, in_the_way, BREAK(WATCH_SKIP));

TEST(another_log_is_not_taken_for_ours)
{
	char name[64];

	CHECK_ERR(watch_reader_create(&tool, 4, 0), 0);
	tool.header->cookie ^= 1;
	watch_reader_name(&tool, name, sizeof(name));
	CHECK_EQ(setenv(WATCH_ENVIRONMENT, name, 1), 0);
	tool.header->cookie ^= 1;
	CHECK(!watch_log_open());
	tool.header->cookie ^= 1;
	tool.header->version++;
	CHECK(!watch_log_open());
	tool.header->version--;
	CHECK(watch_log_open());
}

/* As many at once as there are places, whichever way they nest. */
/* As when a handler has jumped out of the first. */
TEST(a_start_that_has_no_end_is_forgotten)
{
	const struct mmu_notifier_range *token = (const void *)(uintptr_t)0x7000;
	struct watch_open *o;
	bool cut_off;

	for (uint64_t i = 1; i < 2 * WATCH_OPEN_MAX; i++) {
		o = watch_open_take(token, &cut_off);
		CHECK_MSG(o, "%lu", (unsigned long)i);
		CHECK_EQ(cut_off, i > 1);
		o->begin = i;
		o = watch_open_find(token);
		CHECK(o);
		CHECK_EQ(o->begin, i);
	}
	watch_open_free(o);
	CHECK(!watch_open_find(token));
}

TEST(ends_find_their_starts)
{
	static struct mmu_notifier_range token[2 * WATCH_OPEN_MAX];
	unsigned int open = 0;
	bool cut_off;

	for (unsigned int i = 0; i < 2 * WATCH_OPEN_MAX; i++) {
		struct watch_open *o = watch_open_take(&token[i], &cut_off);

		if (!o)
			continue;
		o->begin = i;
		open++;
	}
	CHECK(open > WATCH_OPEN_MAX / 2 && open <= WATCH_OPEN_MAX);
	for (unsigned int i = 0; i < 2 * WATCH_OPEN_MAX; i++) {
		struct watch_open *o = watch_open_find(&token[i]);

		if (!o)
			continue;
		CHECK_EQ(o->begin, i);
		watch_open_free(o);
		open--;
	}
	CHECK_EQ(open, 0);
	CHECK(!watch_open_find(&token[0]));
}

TEST(percentiles)
{
	static struct histogram h;

	CHECK_EQ(histogram_percentile(&h, 50), 0);
	for (uint64_t i = 1; i <= 100000; i++)
		histogram_add(&h, i);
	for (unsigned int p = 1; p <= 100; p += 7) {
		double value = (double)histogram_percentile(&h, p), want = p * 1000.0;

		CHECK_MSG(value > want * .94 && value < want * 1.06, "p%u: %f", p, value);
	}
	histogram_add(&h, UINT64_MAX);
	CHECK(histogram_percentile(&h, 100) > UINT64_MAX / 16 * 15);
}
