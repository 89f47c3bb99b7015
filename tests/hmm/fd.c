/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The descriptors of a space, and a program that closes or exchanges every one that it can.
 */
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "hmm/check.h"
#include "tests/hmm/fixture.h"

enum { MOST = 4 };

/* The numbers that the space has. */
static size_t numbers(struct hmm_rig *rig, int *fd)
{
	size_t n = 0;

	fd[n++] = rig->hmm->uffd;
	fd[n++] = rig->hmm->frames.fd;
	fd[n++] = rig->hmm->end;
	if (rig->hmm->backing.fd > 0)
		fd[n++] = rig->hmm->backing.fd;
	return n;
}

/* What the program has there instead: files of its own, with something in them. */
struct other {
	int fd, end; /* end: the pipe's other one; -1: a file */
	struct stat st;
	bool room; /* it may have got some */
};

static const char text[] = "the program's own";

static void put_pipe(struct other *o, int fd)
{
	int pipes[2];

	CHECK_EQ(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
	CHECK_EQ(write(pipes[1], text, sizeof(text)), (ssize_t)sizeof(text));
	CHECK_EQ(dup2(pipes[0], fd), fd);
	close(pipes[0]);
	*o = (struct other){.fd = fd, .end = fcntl(pipes[1], F_DUPFD_CLOEXEC, 500)};
	CHECK(o->end >= 0);
	close(pipes[1]);
	CHECK_EQ(fstat(fd, &o->st), 0);
}

static void put_file(struct other *o, int fd)
{
	int file = memfd_create("other", MFD_CLOEXEC);

	CHECK(file >= 0);
	CHECK_EQ(ftruncate(file, (off_t)PAGE(64)), 0);
	CHECK_EQ(pwrite(file, text, sizeof(text), 0), (ssize_t)sizeof(text));
	CHECK_EQ(dup2(file, fd), fd);
	close(file);
	*o = (struct other){.fd = fd, .end = -1};
	CHECK_EQ(fstat(fd, &o->st), 0);
}

/* Nobody has read it, written to it, or closed it. */
static void check_other(const struct other *o)
{
	char found[sizeof(text)], rest[4096];
	struct stat st;

	CHECK_EQ(fstat(o->fd, &st), 0);
	CHECK_EQ(st.st_ino, o->st.st_ino);
	if (o->end < 0) {
		CHECK(o->room || st.st_blocks == o->st.st_blocks);
		CHECK_EQ(st.st_size, o->st.st_size);
		CHECK_EQ(pread(o->fd, found, sizeof(found), 0), (ssize_t)sizeof(found));
		for (off_t at = sizeof(found); at < st.st_size; at += sizeof(rest)) {
			ssize_t got = pread(o->fd, rest, sizeof(rest), at);

			CHECK(got > 0);
			for (ssize_t i = 0; i < got; i++)
				CHECK_EQ(rest[i], 0);
		}
	} else {
		CHECK_EQ(read(o->fd, found, sizeof(found)), (ssize_t)sizeof(found));
	}
	CHECK(!memcmp(found, text, sizeof(text)));
}

static struct hmm_test_device device;

/* All that a space does, with other values each time. */
static void use(struct hmm_rig *rig, uint64_t generation)
{
	char *p = region(rig, 16, RW);
	uint64_t frames[4];
	uint8_t dirty[16];

	fill_pages(p, 16, generation);
	check_pages(p, 16, generation);
	CHECK_EQ(mrn_hmm_compact(rig->hmm, p, PAGE(16)), 16);
	check_pages(p, 16, generation);
	CHECK_ERR(mrn_hmm_take_soft_dirty(rig->hmm, p, PAGE(16), dirty), 0);
	CHECK_EQ(try_write(p, word_of(0, 0, generation)), 0);
	CHECK_ERR(mrn_hmm_take_soft_dirty(rig->hmm, p, PAGE(16), dirty), 0);
	CHECK_EQ(dirty[0], 1);
	CHECK_EQ(dirty[1], !rig->hmm->read_only_maps);
	if (rig->hmm->backing.fd > 0) {
		CHECK(mrn_hmm_writeback(rig->hmm, p, PAGE(16)) == 16);
		CHECK_EQ(mrn_hmm_reclaim(rig->hmm, p, PAGE(16)), 16);
		check_pages(p, 16, generation);
	}
	CHECK_EQ(mrn_hmm_migrate_to_device(rig->hmm, &device.dev, p, PAGE(8), NULL), 8);
	check_pages(p, 16, generation);
	CHECK_EQ(mrn_hmm_pin(rig->hmm, p, PAGE(4), true, frames), 4);
	check_page(mrn_hmm_frame(rig->hmm, frames[3]), 3, generation);
	mrn_hmm_unpin(rig->hmm, frames, 4, true);
	CHECK_ERR(mrn_hmm_unmap(rig->hmm, p + PAGE(8), PAGE(8)), 0);
	CHECK_ERR(mrn_hmm_move(rig->hmm, p, p + PAGE(8), PAGE(8)), 0);
	check_pages(p + PAGE(8), 8, generation);
	CHECK_ERR(mrn_hmm_map(rig->hmm, p, PAGE(8), RW), 0);
	check_zeros(p, 8);
	CHECK_ERR(mrn_hmm_discard(rig->hmm, p, PAGE(16)), 0);
	check_zeros(p, 16);
	free_region(rig, p);
}

/* As a program does that becomes a daemon; then the numbers are anybody's. */
static void close_all(struct hmm_rig *rig, bool with_backing)
{
	int fd[MOST];
	size_t n = numbers(rig, fd);

	for (size_t i = 0; i < n; i++)
		if (i < 3 || with_backing)
			CHECK_EQ(close(fd[i]), 0);
}

TEST(descriptors_that_are_closed)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 4, RW);

	/* One that is not expected is a failed check. */
	catch_signals();
	device_init(&device, &rig, 16);
	fill_pages(p, 4, 1);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(2)), 2);
	close_all(&rig, true);
	check_pages(p, 4, 1);
	for (uint64_t i = 2; i < 5; i++)
		use(&rig, i);
	free_region(&rig, p);
	device_exit(&device, &rig);
	rig.backing = -1;
	hmm_rig_exit(&rig);
}
TWIN(descriptors_that_are_closed, used_as_they_are, BREAK(HMM_KEEPER), .timeout_s = 5,
     .accept_timeout = true);

static void exchange(struct hmm_rig *rig, struct other *o, void (*put)(struct other *, int))
{
	int fd[MOST];
	size_t n = numbers(rig, fd);

	for (size_t i = 0; i < n; i++)
		put(&o[i], fd[i]);
	for (uint64_t i = 2; i < 4; i++)
		use(rig, i);
}

TEST(descriptors_that_are_exchanged)
{
	static void (*const put[])(struct other *, int) = {put_pipe, put_file};

	for (int i = 0; i < 2; i++) {
		struct other o[MOST];
		HMM_RIG(rig, .frames = 64);
		char *p = region(&rig, 4, RW);

		device_init(&device, &rig, 16);
		fill_pages(p, 4, 1);
		CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(2)), 2);
		exchange(&rig, o, put[i]);
		check_pages(p, 4, 1);
		free_region(&rig, p);
		device_exit(&device, &rig);
		rig.backing = -1;
		hmm_rig_exit(&rig);
		for (size_t k = 0; k < MOST; k++)
			check_other(&o[k]);
	}
}
TWIN(descriptors_that_are_exchanged, used_as_they_are, BREAK(HMM_KEEPER), .timeout_s = 5,
     .accept_timeout = true);

/* A child that has put its own files there ends its copy of the space. */
TEST(child_closes_nothing_of_its_own)
{
	HMM_RIG(rig, .frames = 64);
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		struct other o[MOST];
		int fd[MOST];
		size_t n = numbers(&rig, fd);

		for (size_t i = 0; i < n; i++)
			put_file(&o[i], fd[i]);
		CHECK_ERR(mrn_hmm_destroy(rig.hmm), -ESTALE);
		for (size_t i = 0; i < n; i++)
			check_other(&o[i]);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	hmm_rig_exit(&rig);
}

/* And one that has not, does not keep them. */
TEST(child_closes_its_copies)
{
	HMM_RIG(rig, .frames = 64);
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		int fd[MOST];

		numbers(&rig, fd);
		CHECK_ERR(mrn_hmm_destroy(rig.hmm), -ESTALE);
		for (size_t i = 0; i < 3; i++)
			CHECK(fcntl(fd[i], F_GETFD) < 0);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	hmm_rig_exit(&rig);
}

/* While others are at work: a call may find the number gone between its look and its use. */
static uint32_t ends;

static void work_main(void *arg)
{
	for (uint64_t i = 1; !LOAD(&ends); i++)
		use(arg, i);
}

TEST(descriptors_that_go_at_any_time)
{
	for (int i = 0; i < ROUNDS(20); i++) {
		struct test_thread worker;
		HMM_RIG(rig, .frames = 64);

		device_init(&device, &rig, 16);
		ends = 0;
		test_thread(&worker, work_main, &rig);
		test_sleep_ms(1 + (unsigned int)i % 7);
		close_all(&rig, i & 1);
		test_sleep_ms(3);
		STORE(&ends, 1);
		test_join(&worker);
		device_exit(&device, &rig);
		rig.backing = i & 1 ? -1 : rig.backing;
		hmm_rig_exit(&rig);
	}
}

/* ------------------------------------------------------- exchanged between a look at a number and its use */

static struct {
	size_t n;
	int fd[MOST], own[MOST], theirs[MOST];
	uint64_t calls, at; /* by the program's numbers; the one before which they are exchanged */
} gap;

static void exchange_in_the_gap(int fd)
{
	if (__atomic_add_fetch(&gap.calls, 1, __ATOMIC_RELAXED) != LOAD(&gap.at))
		return;
	for (size_t i = 0; i < gap.n; i++)
		CHECK_EQ(dup2(gap.theirs[i], gap.fd[i]), gap.fd[i]);
}

static int copy_up(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 500);

	CHECK(copy >= 0);
	return copy;
}

/* Whatever a space does, and at whichever of its calls. Of files there is one for the backing file: a pipe takes nothing. */
static void check_gaps(void (*put)(struct other *, int))
{
	HMM_RIG(rig, .frames = 64);
	struct other o[MOST];
	/* In steps: most calls are like the next. */
	uint64_t at = 1;

	device_init(&device, &rig, 16);
	gap.n = numbers(&rig, gap.fd);
	for (size_t i = 0; i < gap.n; i++) {
		gap.own[i] = copy_up(gap.fd[i]);
		put(&o[i], gap.fd[i]);
		gap.theirs[i] = o[i].fd = copy_up(gap.fd[i]);
		o[i].room = true;
		CHECK_EQ(dup2(gap.own[i], gap.fd[i]), gap.fd[i]);
	}
	mrn_check_hmm_call_hook = exchange_in_the_gap;
	do {
		/* A worker's last call for a page may come after what needed the page. */
		STORE(&gap.calls, 0);
		STORE(&gap.at, at += 5);
		use(&rig, at);
		for (size_t i = 0; i < gap.n; i++)
			CHECK_EQ(dup2(gap.own[i], gap.fd[i]), gap.fd[i]);
	} while (LOAD(&gap.calls) >= at);
	mrn_check_hmm_call_hook = NULL;
	CHECK(at > 6);
	for (size_t i = 0; i < gap.n; i++) {
		check_other(&o[i]);
		close(gap.own[i]);
	}
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

TEST(descriptors_that_are_exchanged_before_a_call, .timeout_s = 120)
{
	check_gaps(put_pipe);
}

/* But that room in the frames' place may be made in the program's file. */
TEST(files_in_the_place_of_descriptors_before_a_call, .timeout_s = 120)
{
	check_gaps(put_file);
}
TWIN(files_in_the_place_of_descriptors_before_a_call, used_as_they_are, BREAK(HMM_KEEPER),
     .timeout_s = 5, .accept_timeout = true);
