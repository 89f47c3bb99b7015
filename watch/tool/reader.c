/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "watch/shared/check.h"
#include "os/clock.h"
#include "os/futex.h"
#include "os/syscall.h"
#include "watch/tool/alive.h"
#include "watch/tool/reader.h"
#include "watch/shared/unfollowed.h"

/* How often it looks. No program fills a ring of the default size in this time. */
#define LOOK_NS 5000000

static struct watch_lane *lane_at(const struct watch_reader *reader, unsigned int i)
{
	return (struct watch_lane *)(void *)(reader->base +
					     watch_lane_offset(i, reader->header->lane_size));
}

/*
 * A limit on the size of files (ulimit -f) is meant for files on a disk, and exceeding it raises a signal. It is raised
 * meanwhile as far as allowed.
 */
static int set_size(int fd, size_t size)
{
	struct rlimit had, more;
	int err = 0;

	if (getrlimit(RLIMIT_FSIZE, &had))
		return errno;
	more.rlim_cur = more.rlim_max = had.rlim_max < size ? size : had.rlim_max;
	if (had.rlim_cur < size && setrlimit(RLIMIT_FSIZE, &more))
		return EFBIG;
	if (ftruncate(fd, (off_t)size))
		err = errno;
	if (had.rlim_cur < size && setrlimit(RLIMIT_FSIZE, &had) && !err)
		err = errno;
	return err;
}

int watch_reader_create(struct watch_reader *reader, uint32_t ring_shift, size_t besides)
{
	size_t lane_size = watch_lane_size(ring_shift, besides);
	struct watch_header *h;
	struct stat st;
	int err;

	*reader =
		(struct watch_reader){.fd = -1, .size = watch_lane_offset(WATCH_LANES, lane_size)};
	pthread_mutex_init(&reader->lock, NULL);
	reader->number = alive_own_number();
	if (!reader->number)
		return -ENOENT;
	reader->by_proc = reader->number != (uint32_t)getpid();
	reader->fd = memfd_create("mrn-watch", MFD_CLOEXEC);
	if (reader->fd < 0)
		goto failed;
	/* Untouched pages take no memory. */
	errno = set_size(reader->fd, reader->size);
	if (errno)
		goto failed;
	h = mmap(NULL, reader->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, reader->fd,
		 0);
	if (h == MAP_FAILED)
		goto failed;
	reader->base = (char *)h;
	reader->header = h;
	if (fstat(reader->fd, &st))
		goto failed;
	h->uid = geteuid();
	h->gid = getegid();
	h->log_dev = st.st_dev;
	h->log_ino = st.st_ino;
	h->magic = WATCH_MAGIC;
	h->version = WATCH_VERSION;
	h->lane_size = lane_size;
	h->ring_shift = ring_shift;
	if (getrandom(&h->cookie, sizeof(h->cookie), 0) == (ssize_t)sizeof(h->cookie))
		return 0;
failed:
	err = errno;
	watch_reader_destroy(reader);
	return -err;
}

void watch_reader_destroy(struct watch_reader *reader)
{
	if (reader->base)
		munmap(reader->base, reader->size);
	if (reader->fd >= 0)
		close(reader->fd);
	reader->base = NULL;
	reader->fd = -1;
}

void watch_reader_name(const struct watch_reader *reader, char *text, size_t size)
{
	snprintf(text, size, "%jx:/proc/%u/fd/%d", (uintmax_t)reader->header->cookie,
		 reader->number, reader->fd);
}

/* ----------------------------------------------------------------------------------- reading a lane */

/* Takes a slot away from a writer that has reserved it and not filled it. False: it has just filled it. */
static bool skip(struct watch_lane *lane, struct watch_record *slot, uint32_t vacant)
{
	if (!__atomic_compare_exchange_n(&slot->turn, &vacant, WATCH_SKIPPED, false,
					 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return false;
	__atomic_fetch_add(&lane->dropped, 1, __ATOMIC_RELAXED);
	return true;
}

/*
 * Reads the ring, at most one round. over: the writers are gone, so a slot that is reserved and not filled never will
 * be. stuck: this holds perhaps for the first one that is not filled.
 */
static void drain(struct watch_reader *reader, struct watch_lane *lane, bool over, bool stuck)
{
	uint32_t shift = reader->header->ring_shift;
	uint64_t size = UINT64_C(1) << shift, tail = lane->tail;
	uint64_t head = __atomic_load_n(&lane->head, __ATOMIC_ACQUIRE);

	for (uint64_t n = 0; n < size && tail != head; n++) {
		struct watch_record *slot = &watch_ring(lane)[tail & (size - 1)];
		uint32_t vacant = watch_free_turn(tail, shift);
		/* Acquire pairs with the writer's release: the record is complete. */
		uint32_t turn = __atomic_load_n(&slot->turn, __ATOMIC_ACQUIRE);

		if (turn == vacant + 1) {
			reader->sink.record(reader->sink.arg, slot, lane);
		} else if (over && turn != WATCH_SKIPPED) {
			lane->unpaired++;
		} else if (turn != WATCH_SKIPPED) {
			if (!stuck)
				break;
			stuck = false;
			if (!skip(lane, slot, vacant))
				continue;
			turn = WATCH_SKIPPED;
		}
		/* Release: the next writer here overwrites what we have read. */
		if (turn != WATCH_SKIPPED)
			__atomic_store_n(&slot->turn, vacant + 2, __ATOMIC_RELEASE);
		__atomic_store_n(&lane->tail, ++tail, __ATOMIC_RELAXED);
	}
}

/*
 * No writer is left that could write late: puts all skipped slots back into use. Only those that the owner has reached,
 * including the one at head: to look at all would touch a whole ring's memory for each lane.
 */
static void renew(const struct watch_reader *reader, struct watch_lane *lane, uint64_t began)
{
	uint32_t shift = reader->header->ring_shift;
	uint64_t size = UINT64_C(1) << shift, head = lane->head;
	uint64_t pos = head - began < size && !MRN_BROKEN(WATCH_RENEW) ? began + size : head;

	lane->tail = head;
	for (; pos <= head + size; pos++) {
		struct watch_record *slot = &watch_ring(lane)[pos & (size - 1)];

		if (slot->turn == WATCH_SKIPPED)
			slot->turn = watch_free_turn(pos < head + size ? pos : head, shift);
	}
}

/*
 * What was being executed when the process was last seen. arrived: when the new program got a lane; 0: it has none,
 * since the recorder cannot be loaded into it, or the process was killed.
 */
static void end_execs(struct watch_reader *reader, struct watch_lane *lane, uint64_t arrived)
{
	for (unsigned int i = 0; i < WATCH_EXECS; i++) {
		struct watch_exec_mark *m = &lane->exec[i];

		if (!__atomic_load_n(&m->token, __ATOMIC_ACQUIRE))
			continue;
		m->record.end = arrived ? arrived : m->record.begin;
		if (m->record.begin && reader->sink.record)
			reader->sink.record(reader->sink.arg, &m->record, lane);
		if (!arrived && !m->told)
			watch_unfollowed_add(
				reader->header,
				"the recorder was not loaded into the program that it executed, or "
				"could not open the log there");
		m->token = 0;
		m->record.begin = 0;
	}
}

/* Longer than any program takes from exec to the recorder. */
#define EXEC_NS UINT64_C(2000000000)

/*
 * For a process that still runs at the end, such as a server that was started: ends execs that are too old to be still
 * under way.
 */
static void end_old_execs(struct watch_reader *reader, struct watch_lane *lane)
{
	for (unsigned int i = 0; i < WATCH_EXECS; i++) {
		const struct watch_exec_mark *m = &lane->exec[i];

		if (__atomic_load_n(&m->token, __ATOMIC_ACQUIRE) &&
		    mrn_now_ns() - m->record.begin > EXEC_NS) {
			end_execs(reader, lane, 0);
			return;
		}
	}
}

/* The process runs on, unwatched. */
static void end_running(struct watch_reader *reader, unsigned int i)
{
	struct watch_lane *lane = lane_at(reader, i);

	end_old_execs(reader, lane);
	if (reader->sink.look)
		reader->sink.look(reader->sink.arg, (uint32_t)reader->header->lane[i].owner, lane,
				  true);
}

/* The process is gone: its lane becomes free. */
static void give_back(struct watch_reader *reader, unsigned int i)
{
	struct watch_lane *lane = lane_at(reader, i);

	drain(reader, lane, true, false);
	if (reader->sink.look)
		reader->sink.look(reader->sink.arg, (uint32_t)reader->header->lane[i].owner, lane,
				  true);
	end_execs(reader, lane, __atomic_load_n(&reader->header->lane[i].ended, __ATOMIC_ACQUIRE));
	renew(reader, lane, reader->began[i]);
	reader->began[i] = lane->head;
	reader->dropped += lane->dropped;
	reader->unpaired += lane->unpaired;
	lane->dropped = lane->unpaired = 0;
	lane->nr_modules = 0;
	lane->full_since = 0;
	lane->seen = 0;
	reader->counted[i] = false;
	reader->waits_at[i] = 0;
	__atomic_store_n(&reader->header->lane[i].ended, 0, __ATOMIC_RELAXED);
	/* Release pairs with the next owner's acquire. */
	__atomic_store_n(&reader->header->lane[i].owner, 0, __ATOMIC_RELEASE);
}

/*
 * True if half the ring has filled up while the same slot was not filled. A look takes long, and a merely slow writer
 * loses no more by this than the others would soon, without room.
 */
static bool is_stuck(struct watch_reader *reader, unsigned int i, const struct watch_lane *lane)
{
	uint64_t half = UINT64_C(1) << reader->header->ring_shift >> 1, tail = lane->tail;
	uint64_t ahead = __atomic_load_n(&lane->head, __ATOMIC_RELAXED) - tail;
	bool before = reader->waits_at[i] == tail + 1;

	reader->waits_at[i] = ahead ? tail + 1 : 0;
	return before && ahead >= half && !MRN_BROKEN(WATCH_SKIP);
}

/*
 * A program may wait late for its children, or never. When lanes become scarce, those of ended processes are given back
 * before that: a few at each look, since each costs three system calls.
 */
static bool may_be_zombie(const struct watch_reader *reader, unsigned int i,
			  const struct watch_lane *lane)
{
	return reader->used > WATCH_LANES / 2 && i % 8 == reader->looks % 8 &&
	       __atomic_load_n(&lane->head, __ATOMIC_RELAXED) == lane->tail;
}

static bool is_gone(const struct watch_reader *reader, unsigned int i, uint32_t owner)
{
	if (__atomic_load_n(&reader->header->lane[i].ended, __ATOMIC_ACQUIRE))
		return true;
	if (may_be_zombie(reader, i, lane_at(reader, i)) && alive_is_zombie(owner))
		return true;
	return !alive_is_there(owner, reader->by_proc);
}

/* The program waits for this. */
static void greet(struct watch_reader *reader, struct watch_lane *lane, uint32_t pid)
{
	if (reader->sink.begins)
		reader->sink.begins(reader->sink.arg, pid, lane);
	__atomic_store_n(&lane->seen, 1, __ATOMIC_RELEASE);
	mrn_futex_shared_wake(&lane->seen, 1);
}

/* True if a ring has filled up again meanwhile. */
static bool read_all(struct watch_reader *reader)
{
	uint64_t quarter = UINT64_C(1) << reader->header->ring_shift >> 2;
	unsigned int used = 0;
	bool busy = false;

	pthread_mutex_lock(&reader->lock);
	for (unsigned int i = 0; i < WATCH_LANES; i++) {
		uint64_t owner = __atomic_load_n(&reader->header->lane[i].owner, __ATOMIC_ACQUIRE);
		struct watch_lane *lane = lane_at(reader, i);
		uint64_t tail = lane->tail;
		bool gone;

		if (!owner)
			continue;
		used++;
		if (!reader->counted[i]) {
			reader->counted[i] = true;
			reader->processes += !(owner & WATCH_AGAIN);
		}
		/* Checked before the ring is read, so that a process's last records are in it. */
		gone = is_gone(reader, i, (uint32_t)owner);
		drain(reader, lane, false, is_stuck(reader, i, lane));
		if (!gone && reader->sink.look)
			reader->sink.look(reader->sink.arg, (uint32_t)owner, lane, false);
		if (gone)
			give_back(reader, i);
		else if (tail != lane->tail &&
			 __atomic_load_n(&lane->head, __ATOMIC_RELAXED) - lane->tail >= quarter)
			busy = true;
	}
	reader->used = used;
	reader->looks++;
	/*
	 * After reading all that was there: a file that has been rewritten is another file to a program that begins
	 * now.
	 */
	for (unsigned int i = 0; i < WATCH_LANES; i++) {
		uint64_t owner = __atomic_load_n(&reader->header->lane[i].owner, __ATOMIC_ACQUIRE);
		struct watch_lane *lane = lane_at(reader, i);

		if (owner && !lane->seen && __atomic_load_n(&lane->nr_modules, __ATOMIC_ACQUIRE))
			greet(reader, lane, (uint32_t)owner);
	}
	pthread_mutex_unlock(&reader->lock);
	return busy;
}

/* -------------------------------------------------------------------------------------- the thread */

/*
 * The program wakes this thread only when it begins: the wake is a system call, which the program may forbid itself
 * later. knocks is read (acquire) before the look: a later knock is either seen, or the kernel finds another number
 * there, and this thread does not sleep.
 */
static void *read_while_it_runs(void *arg)
{
	struct watch_reader *reader = arg;

	for (;;) {
		uint32_t knocks = __atomic_load_n(&reader->header->knocks, __ATOMIC_ACQUIRE);

		if (__atomic_load_n(&reader->stop, __ATOMIC_RELAXED))
			return NULL;
		if (!read_all(reader))
			mrn_futex_shared_wait_for(&reader->header->knocks, knocks, LOOK_NS);
	}
}

int watch_reader_start(struct watch_reader *reader, const struct watch_sink *sink)
{
	int err;

	reader->sink = *sink;
	err = pthread_create(&reader->thread, NULL, read_while_it_runs, reader);
	reader->running = !err;
	return -err;
}

void watch_reader_finish(struct watch_reader *reader)
{
	if (!reader->running)
		return;
	__atomic_store_n(&reader->stop, 1, __ATOMIC_RELAXED);
	/* Release pairs with the thread's acquire: if it sees the number, it sees stop. */
	__atomic_fetch_add(&reader->header->knocks, 1, __ATOMIC_RELEASE);
	mrn_futex_shared_wake(&reader->header->knocks, 1);
	pthread_join(reader->thread, NULL);
	reader->running = false;
	read_all(reader);
	pthread_mutex_lock(&reader->lock);
	for (unsigned int i = 0; i < WATCH_LANES; i++)
		if (reader->header->lane[i].owner)
			end_running(reader, i);
	pthread_mutex_unlock(&reader->lock);
}

static uint64_t sum(const struct watch_reader *reader, size_t member)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < WATCH_LANES; i++)
		if (__atomic_load_n(&reader->header->lane[i].owner, __ATOMIC_RELAXED))
			n += __atomic_load_n((uint64_t *)(void *)((char *)lane_at(reader, i) +
								  member),
					     __ATOMIC_RELAXED);
	return n;
}

uint64_t watch_reader_dropped(const struct watch_reader *reader)
{
	return reader->dropped + sum(reader, offsetof(struct watch_lane, dropped));
}

uint64_t watch_reader_unpaired(const struct watch_reader *reader)
{
	return reader->unpaired + sum(reader, offsetof(struct watch_lane, unpaired));
}
