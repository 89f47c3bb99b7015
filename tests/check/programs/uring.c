/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-uring FORM CASE: what a program can do with io_uring, right and wrong. FORM: ring.h.
 * mrn check must find what is wrong, and nothing else: catalogue.def.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/check/programs/ring.h"

enum { SIZE = 65536, HALF = SIZE / 2 };

static struct ring ring;
static bool by_liburing;
static char *buffer;
static int file;

static char *map(void *at)
{
	char *p = mmap(at, SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | (at ? MAP_FIXED : 0), -1, 0);

	need(p != MAP_FAILED, "mmap");
	memset(p, 'A', SIZE);
	return p;
}

/* ---- what can be changed */

static void discard(void)
{
	need(!madvise(buffer, SIZE, MADV_DONTNEED), "madvise");
	memset(buffer, 'B', SIZE);
}

static void replace(void)
{
	need(!munmap(buffer, SIZE), "munmap");
	map(buffer);
}

/* ---- what can be done with it */

static void open_with(unsigned int flags)
{
	ring_open(&ring, by_liburing, flags);
}

static void register_in(struct ring *r)
{
	const struct iovec iov = {buffer, SIZE};

	need(!ring_register(r, IORING_REGISTER_BUFFERS, &iov, 1), "IORING_REGISTER_BUFFERS");
}

static struct io_uring_sqe *prepare(struct ring *r, int op, int fd, const void *addr,
				    unsigned int length)
{
	struct io_uring_sqe *sqe = ring_sqe(r);

	need(sqe, "a free entry");
	io_uring_prep_rw(op, sqe, fd, addr, length, 0);
	sqe->buf_index = 0;
	sqe->user_data = 7;
	return sqe;
}

static void write_in(struct ring *r, const void *addr, unsigned int length)
{
	prepare(r, IORING_OP_WRITE_FIXED, file, addr, length);
	ring_submit(r);
	need(ring_reap(r) == (int)length, "WRITE_FIXED");
}

static void open_registered(unsigned int flags)
{
	open_with(flags);
	register_in(&ring);
	write_in(&ring, buffer, SIZE);
}

/* ---- stale uses */

static void use_after(unsigned int flags, void (*change)(void))
{
	open_registered(flags);
	change();
	write_in(&ring, buffer, SIZE);
	ring_close(&ring);
}

static void stale(void)
{
	use_after(0, discard);
}

static void replaced(void)
{
	use_after(0, replace);
}

static void sqpoll(void)
{
	use_after(IORING_SETUP_SQPOLL, discard);
}

static void long_requests(void)
{
	use_after(IORING_SETUP_SQE128, discard);
}

static void no_array(void)
{
	use_after(RING_NO_SQARRAY, discard);
}

static void own_memory(void)
{
	use_after(RING_NO_MMAP, discard);
}

static void by_index(void)
{
	open_registered(0);
	ring_register_fd(&ring);
	discard();
	write_in(&ring, buffer, SIZE);
	ring_close(&ring);
}

static void by_copy(void)
{
	int copy;

	open_registered(0);
	copy = dup(ring.fd);
	need(copy >= 0 && !close(ring.fd), "dup");
	ring.fd = ring.enters = copy;
	discard();
	write_in(&ring, buffer, SIZE);
	ring_close(&ring);
}

/* It is the ring's still. */
static void not_replaced(void)
{
	open_registered(0);
	errno = 0;
	need(dup2(9999, ring.fd) < 0 && errno == EBADF, "dup2");
	need(dup3(0, ring.fd, O_APPEND) < 0 && errno == EINVAL, "dup3");
	discard();
	write_in(&ring, buffer, SIZE);
	ring_close(&ring);
}

/* The number of a file that is no ring becomes the ring's. */
static void by_dup2(void)
{
	int copy = open("/dev/null", O_RDONLY);

	open_registered(0);
	need(copy >= 0 && dup2(ring.fd, copy) == copy && !close(ring.fd), "dup2");
	ring.fd = ring.enters = ring.uring.ring_fd = ring.uring.enter_ring_fd = copy;
	discard();
	write_in(&ring, buffer, SIZE);
	ring_close(&ring);
}

/* Addresses that are kept for mrn check do not count. */
static void limited(void)
{
	struct rlimit limit = {.rlim_max = RLIM_INFINITY};
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long pages = 0;
	void *p;

	open_registered(0);
	need(f && fscanf(f, "%lu", &pages) == 1, "statm");
	fclose(f);
	/* Less than there is now. */
	limit.rlim_cur = pages * 4096 - (128 << 20);
	need(!setrlimit(RLIMIT_AS, &limit), "RLIMIT_AS");
	p = malloc(1 << 20);
	need(p != NULL, "malloc");
	discard();
	write_in(&ring, buffer, SIZE);
	ring_close(&ring);
}

static void by_fcntl(void)
{
	int copy;

	open_registered(0);
	copy = fcntl(ring.fd, F_DUPFD_CLOEXEC, 100);
	need(copy >= 100 && !close(ring.fd), "F_DUPFD_CLOEXEC");
	ring.fd = ring.enters = ring.uring.ring_fd = ring.uring.enter_ring_fd = copy;
	discard();
	write_in(&ring, buffer, SIZE);
	ring_close(&ring);
}

/* The second ring has the pages of the first, which is gone. */
static void cloned(void)
{
	struct ring other;
	const struct ring_clone clone = {.src_fd = 0};
	struct ring_clone c = clone;

	open_registered(0);
	ring_open(&other, by_liburing, 0);
	c.src_fd = (unsigned int)ring.fd;
	skip(!ring_register(&other, RING_CLONE_BUFFERS, &c, 1), "IORING_REGISTER_CLONE_BUFFERS");
	ring_close(&ring);
	discard();
	write_in(&other, buffer, SIZE);
	ring_close(&other);
}

/* ---- uses that are all right */

static void none(void)
{
	open_registered(0);
	write_in(&ring, buffer, SIZE);
	ring_close(&ring);
}

static void rights(void)
{
	open_registered(0);
	need(!mprotect(buffer, SIZE, PROT_READ), "mprotect");
	need(!mprotect(buffer, SIZE, PROT_READ | PROT_WRITE), "mprotect");
	write_in(&ring, buffer, SIZE);
	ring_close(&ring);
}

static void unused(void)
{
	open_registered(0);
	need(!madvise(buffer + HALF, HALF, MADV_DONTNEED), "madvise");
	write_in(&ring, buffer, HALF);
	ring_close(&ring);
}

static void again(void)
{
	open_registered(0);
	need(!ring_register(&ring, IORING_UNREGISTER_BUFFERS, NULL, 0),
	     "IORING_UNREGISTER_BUFFERS");
	discard();
	register_in(&ring);
	write_in(&ring, buffer, SIZE);
	ring_close(&ring);
}

static void update(unsigned int slot, char *addr, int result)
{
	struct iovec iov[2] = {{addr, SIZE}, {addr, SIZE}};
	struct io_uring_rsrc_update2 up = {.offset = slot, .data = (uintptr_t)iov, .nr = 2};

	/* The second cannot be done: it is registered no longer than memory can be. */
	if (result < 2)
		iov[1].iov_len = (size_t)1 << 40;
	need(ring_register(&ring, IORING_REGISTER_BUFFERS_UPDATE, &up, sizeof(up)) == result,
	     "IORING_REGISTER_BUFFERS_UPDATE");
}

static void open_sparse(void)
{
	struct io_uring_rsrc_register reg = {.nr = 4, .flags = IORING_RSRC_REGISTER_SPARSE};

	open_with(0);
	need(!ring_register(&ring, IORING_REGISTER_BUFFERS2, &reg, sizeof(reg)),
	     "IORING_REGISTER_BUFFERS2");
	update(0, buffer, 2);
	write_in(&ring, buffer, SIZE);
}

static void updated(void)
{
	open_sparse();
	discard();
	update(0, buffer, 2);
	write_in(&ring, buffer, SIZE);
	ring_close(&ring);
}

/* Only the first was done: the second is what it was. */
static void half_updated(void)
{
	struct io_uring_sqe *sqe;

	open_sparse();
	discard();
	update(0, buffer, 1);
	write_in(&ring, buffer, SIZE);
	sqe = prepare(&ring, IORING_OP_WRITE_FIXED, file, buffer, SIZE);
	sqe->buf_index = 1;
	ring_submit(&ring);
	ring_reap(&ring);
	ring_close(&ring);
}

/* What was registered is still: a second registration is refused. */
static void refused(void)
{
	const struct iovec iov = {buffer, SIZE};

	open_registered(0);
	discard();
	need(ring_register(&ring, IORING_REGISTER_BUFFERS, &iov, 1) < 0, "a second table");
	write_in(&ring, buffer, SIZE);
	ring_close(&ring);
}

static void another_ring(void)
{
	open_registered(0);
	ring_close(&ring);
	discard();
	open_registered(0);
	ring_close(&ring);
}

/* ---- rings of provided buffers, which the kernel reads unseen */

static struct io_uring_buf_reg group;

static void open_group(void)
{
	group = (struct io_uring_buf_reg){.ring_addr = (uintptr_t)buffer, .ring_entries = 256};
	open_with(0);
	need(!ring_register(&ring, IORING_REGISTER_PBUF_RING, &group, 1),
	     "IORING_REGISTER_PBUF_RING");
}

static void group_changed(void)
{
	open_group();
	need(!munmap(buffer, 4096), "munmap");
	ring_close(&ring);
}

static void group_ended(void)
{
	open_group();
	need(!ring_register(&ring, IORING_UNREGISTER_PBUF_RING, &group, 1),
	     "IORING_UNREGISTER_PBUF_RING");
	replace();
	open_group();
	ring_close(&ring);
	replace();
}

/* Nothing of the ring is left, so its memory may go. */
static void closed_range(void)
{
	open_group();
	need(!close_range((unsigned int)ring.fd, (unsigned int)ring.fd, 0), "close_range");
	replace();
}

static void closed_from(void)
{
	open_group();
	closefrom(ring.fd);
	replace();
}

/* ---- in flight */

static int ends[2];

static void read_pipe(int op)
{
	need(!pipe(ends), "pipe");
	prepare(&ring, op, ends[0], buffer, 100);
	ring_submit(&ring);
}

static void finish_pipe(void)
{
	need(write(ends[1], buffer + HALF, 100) == 100, "write");
	ring_wait(&ring);
}

/* Memory that is not registered. */
static void flight(void)
{
	open_with(0);
	read_pipe(IORING_OP_READ);
	replace();
	finish_pipe();
	ring_close(&ring);
}

static void flight_fixed(void)
{
	open_registered(0);
	read_pipe(IORING_OP_READ_FIXED);
	replace();
	finish_pipe();
	ring_close(&ring);
}

static void flight_vector(void)
{
	struct iovec iov[2] = {{buffer + HALF, 10}, {buffer, 10}};

	open_with(0);
	need(!pipe(ends), "pipe");
	prepare(&ring, IORING_OP_READV, ends[0], iov, 2);
	ring_submit(&ring);
	need(!munmap(buffer, 4096), "munmap");
	finish_pipe();
	ring_close(&ring);
}

/* It is over when the completion is posted, although nobody has looked. */
static void landed(void)
{
	open_with(0);
	read_pipe(IORING_OP_READ);
	finish_pipe();
	replace();
	ring_close(&ring);
}

static void landed_and_reaped(void)
{
	open_with(0);
	for (int i = 0; i < 100; i++) {
		read_pipe(IORING_OP_READ);
		need(write(ends[1], ends, 4) == 4, "write");
		ring_reap(&ring);
		replace();
		close(ends[0]);
		close(ends[1]);
	}
	ring_close(&ring);
}

/* The ring has room for no more completions than there are requests. */
static void landed_in_few(void)
{
	const unsigned int nr = 8;

	open_with(IORING_SETUP_CQSIZE);
	need(!ftruncate(file, SIZE), "ftruncate");
	for (int i = 0; i < 10; i++) {
		for (unsigned int n = 0; n < nr; n++)
			prepare(&ring, IORING_OP_READ, file, buffer, 100);
		ring_submit(&ring);
		for (unsigned int n = 0; n < nr; n++)
			need(ring_reap(&ring) == 100, "READ");
	}
	ring_close(&ring);
}

static void connect_ends(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(at);
	int listens = socket(AF_INET, SOCK_STREAM, 0);

	ends[0] = socket(AF_INET, SOCK_STREAM, 0);
	skip(listens >= 0 && !bind(listens, (void *)&at, sizeof(at)) && !listen(listens, 1) &&
		     !getsockname(listens, (void *)&at, &length) &&
		     !connect(ends[0], (void *)&at, sizeof(at)),
	     "TCP");
	ends[1] = accept(listens, NULL, NULL);
	need(ends[1] >= 0, "accept");
}

/* It is over when the kernel says so a second time. */
static void sent(void)
{
	open_with(0);
	connect_ends();
	prepare(&ring, IORING_OP_SEND_ZC, ends[0], buffer, 100);
	ring_submit(&ring);
	skip(ring_reap(&ring) == 100, "SEND_ZC");
	ring_reap(&ring);
	replace();
	ring_close(&ring);
}

/* Nothing says when it has succeeded: it is not followed. */
static void silent(void)
{
	struct io_uring_sqe *sqe;

	open_with(0);
	sqe = prepare(&ring, IORING_OP_WRITE, file, buffer, 100);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	prepare(&ring, IORING_OP_NOP, -1, NULL, 0);
	ring_submit(&ring);
	ring_wait(&ring);
	replace();
	ring_close(&ring);
}

/* A child has copies: it may do with them as it likes. */
static void forked(void)
{
	open_with(0);
	read_pipe(IORING_OP_READ);
	if (!fork()) {
		replace();
		_exit(0);
	}
	finish_pipe();
	replace();
	ring_close(&ring);
}

/* ---- children that are not followed: they have a copy of what is known of rings */

/* Unless it hangs, or dies. */
static void need_child(pid_t child)
{
	int status = -1;

	need(child > 0 && waitpid(child, &status, 0) == child, "a child");
	errno = 0;
	need(!status, "what it does");
}

static pid_t raw_fork(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static void raw_child_closes(void)
{
	pid_t child;

	open_registered(0);
	child = raw_fork();
	if (!child) {
		close(ring.fd);
		open_registered(0);
		_exit(0);
	}
	need_child(child);
	write_in(&ring, buffer, SIZE);
	ring_close(&ring);
}

static void raw_child_submits(void)
{
	pid_t child;

	open_with(0);
	read_pipe(IORING_OP_READ);
	child = raw_fork();
	if (!child) {
		prepare(&ring, IORING_OP_NOP, -1, NULL, 0);
		ring_submit(&ring);
		_exit(0);
	}
	need_child(child);
	finish_pipe();
	ring_close(&ring);
}

/* Its ring ends with the descriptor, and the transfer with the ring: so its peer sees the end of the connection. */
static void own_ring_of_child(void)
{
	pid_t child = fork();
	char c;

	if (!child) {
		alarm(60);
		open_with(0);
		need(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
		prepare(&ring, IORING_OP_RECV, ends[0], buffer, 4);
		ring_submit(&ring);
		if (!by_liburing) {
			munmap(ring.rings, 4096);
			munmap(ring.sqes, 4096);
		}
		ring_close(&ring);
		close(ends[0]);
		need(read(ends[1], &c, 1) == 0, "the end of the connection");
		_exit(0);
	}
	need_child(child);
}

/* The registered pages are its parent's, whatever becomes of its own memory: it is not followed, and nothing is said. */
static void ring_of_parent(void)
{
	pid_t child;

	open_registered(0);
	child = fork();
	if (!child) {
		alarm(60);
		write_in(&ring, buffer, SIZE);
		replace();
		write_in(&ring, buffer, SIZE);
		read_pipe(IORING_OP_READ);
		replace();
		finish_pipe();
		ring_close(&ring);
		_exit(0);
	}
	need_child(child);
	replace();
	ring_close(&ring);
}

/* Threads that share a ring, and give the memory back as soon as it is known that the transfer is over. */

enum { THREADS = 4, ROUNDS = 500 };

static pthread_mutex_t one_submits = PTHREAD_MUTEX_INITIALIZER;

static void *transfers(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			       0);
		struct io_uring_sqe *sqe;

		need(p != MAP_FAILED, "mmap");
		pthread_mutex_lock(&one_submits);
		sqe = prepare(&ring, IORING_OP_WRITE, file, p, 4096);
		sqe->flags |= i % 2 ? IOSQE_ASYNC : 0;
		ring_submit(&ring);
		need(ring_reap(&ring) == 4096, "WRITE");
		pthread_mutex_unlock(&one_submits);
		munmap(p, 4096);
	}
	return NULL;
}

static void threads(void)
{
	pthread_t t[THREADS];

	open_with(0);
	for (int i = 0; i < THREADS; i++)
		need(!pthread_create(&t[i], NULL, transfers, NULL), "pthread_create");
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	ring_close(&ring);
}

static const struct ring_case cases[] = {
	{"none", none},
	{"rights", rights},
	{"unused", unused},
	{"again", again},
	{"updated", updated},
	{"half-updated", half_updated},
	{"refused", refused},
	{"another-ring", another_ring},
	{"stale", stale},
	{"replaced", replaced},
	{"sqpoll", sqpoll},
	{"sqe128", long_requests},
	{"no-sqarray", no_array},
	{"no-mmap", own_memory},
	{"registered-fd", by_index},
	{"dup", by_copy},
	{"dupfd", by_fcntl},
	{"dup2", by_dup2},
	{"not-replaced", not_replaced},
	{"limited", limited},
	{"closed-range", closed_range},
	{"closed-from", closed_from},
	{"raw-child-closes", raw_child_closes},
	{"raw-child-submits", raw_child_submits},
	{"child-s-own", own_ring_of_child},
	{"parent-s-ring", ring_of_parent},
	{"cloned", cloned},
	{"flight", flight},
	{"flight-fixed", flight_fixed},
	{"flight-vector", flight_vector},
	{"landed", landed},
	{"landed-and-reaped", landed_and_reaped},
	{"landed-in-few", landed_in_few},
	{"silent", silent},
	{"sent", sent},
	{"forked", forked},
	{"threads", threads},
	{"group-changed", group_changed},
	{"group-ended", group_ended},
};

int main(int argc, char **argv)
{
	const char *name = ring_form(argv[1], &by_liburing);

	need(name, "check-uring 'FORM CASE'");
	buffer = map(NULL);
	file = (int)syscall(SYS_memfd_create, "file", 0);
	need(file >= 0, "memfd_create");
	ring_run(cases, sizeof(cases) / sizeof(cases[0]), name);
	return 0;
}
