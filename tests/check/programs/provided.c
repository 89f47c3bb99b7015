/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-provided FORM CASE: what a program can do with the buffers that it provides to the kernel, right and wrong. FORM:
 * ring.h. mrn check must find what is wrong, and nothing else: catalogue.def.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/check/programs/ring.h"

enum { ENTRIES = 4, PAGE = 4096, SIZE = 2 * PAGE, FIRST_GROUP = 5 };

/* Newer than Debian 12's headers. */
enum {
	BY_KERNEL = 1,
	INCREMENTAL = 2,
	OFFSET = 0x80000000,
	OFFSET_SHIFT = 16,
	MORE_OF_BUFFER = 1 << 4,
	MULTISHOT = 1 << 1
};

/* Waits for what comes before it takes a buffer. */
#define LATER IORING_RECVSEND_POLL_FIRST

static struct ring ring;
static bool by_liburing;
static struct group {
	struct io_uring_buf *buffers; /* the ring of them */
	unsigned short tail;
	char *addr[ENTRIES]; /* by number */
} groups[2], *g = &groups[0];
static int ends[2];
static unsigned long user_data; /* of all that receive; 0: the group's number */

static unsigned short group_id(void)
{
	return (unsigned short)(FIRST_GROUP + (g - groups));
}

static char *map(size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	need(p != MAP_FAILED, "mmap");
	return p;
}

static void unmap(char *at, size_t size)
{
	need(!munmap(at, size), "munmap");
}

static void provide(unsigned short number)
{
	struct io_uring_buf *b = &g->buffers[g->tail % ENTRIES];

	b->addr = (uintptr_t)g->addr[number];
	b->len = SIZE;
	b->bid = number;
	g->tail++;
	__atomic_store_n(&g->buffers->resv, g->tail, __ATOMIC_RELEASE);
}

static void provide_new(unsigned short number)
{
	g->addr[number] = map(SIZE);
	provide(number);
}

static void add_group(unsigned short flags)
{
	struct io_uring_buf_reg group = {.ring_entries = ENTRIES, .bgid = group_id(), .pad = flags};
	void *at = NULL;

	if (!(flags & BY_KERNEL))
		at = map(PAGE);
	group.ring_addr = (uintptr_t)at;
	skip(!ring_register(&ring, IORING_REGISTER_PBUF_RING, &group, 1),
	     "such a ring of provided buffers");
	if (flags & BY_KERNEL)
		at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd,
			  OFFSET | (off_t)group_id() << OFFSET_SHIFT);
	need(at != MAP_FAILED, "the ring of provided buffers");
	g->buffers = at;
	g->tail = 0;
	for (unsigned short i = 0; i < ENTRIES; i++)
		provide_new(i);
}

static void open_ring(void)
{
	ring_open(&ring, by_liburing, 0);
	need(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
}

static void open_group(unsigned short flags)
{
	open_ring();
	add_group(flags);
}

/* By requests. */
static int give(int op, int nr, char *at, unsigned int first)
{
	struct io_uring_sqe *sqe = ring_sqe(&ring);

	need(sqe, "a free entry");
	io_uring_prep_rw(op, sqe, nr, at, at ? SIZE : 0, first);
	sqe->buf_group = group_id();
	sqe->user_data = 8;
	ring_submit(&ring);
	return ring_reap(&ring);
}

static void give_group(void)
{
	char *at = map((size_t)ENTRIES * SIZE);

	for (int i = 0; i < ENTRIES; i++)
		g->addr[i] = at + (size_t)i * SIZE;
	need(give(IORING_OP_PROVIDE_BUFFERS, ENTRIES, at, 0) >= 0, "PROVIDE_BUFFERS");
}

static void open_given(void)
{
	open_ring();
	give_group();
}

static void remove_group(void)
{
	struct io_uring_buf_reg group = {.bgid = group_id()};

	need(!ring_register(&ring, IORING_UNREGISTER_PBUF_RING, &group, 1),
	     "IORING_UNREGISTER_PBUF_RING");
}

static void takes_by(int op, int more, void *at, unsigned int length, unsigned int flags)
{
	struct io_uring_sqe *sqe = ring_sqe(&ring);

	need(sqe, "a free entry");
	io_uring_prep_rw(op, sqe, ends[0], at, length, 0);
	sqe->ioprio = (unsigned short)more;
	sqe->flags = (unsigned char)(IOSQE_BUFFER_SELECT | flags);
	sqe->buf_group = group_id();
	sqe->user_data = user_data ? user_data : group_id();
	ring_submit(&ring);
}

static void receive(int more, unsigned int length)
{
	takes_by(IORING_OP_RECV, more, NULL, length, 0);
}

static void peer_sends(size_t length)
{
	static const char bytes[SIZE];

	need(send(ends[1], bytes, length, 0) == (ssize_t)length, "send");
}

/* The number of the buffer that came. */
static unsigned short received(int length)
{
	unsigned int flags;
	int res;

	ring_reap_cqe(&ring, &res, &flags);
	errno = res < 0 ? -res : 0;
	need(res == length && flags & IORING_CQE_F_BUFFER, "RECV");
	return (unsigned short)(flags >> IORING_CQE_BUFFER_SHIFT);
}

static unsigned short gets(size_t length)
{
	peer_sends(length);
	return received((int)length);
}

/* ---- wrong: the kernel may take it */

static void armed(void)
{
	open_group(0);
	receive(0, 0);
	unmap(g->addr[2], SIZE);
}

static void armed_on(void)
{
	open_group(0);
	receive(MULTISHOT, 0);
	unmap(g->addr[(gets(10) + 1) % ENTRIES], SIZE);
}

static void provided_again(void)
{
	unsigned short n;

	open_group(0);
	receive(MULTISHOT, 0);
	n = gets(10);
	provide(n);
	unmap(g->addr[n], SIZE);
}

static void kernel_s_ring(void)
{
	open_group(BY_KERNEL);
	receive(0, 0);
	unmap(g->addr[2], SIZE);
}

/* Of the buffer in use the first page came back. */
static void rest(void)
{
	unsigned short n;

	open_group(INCREMENTAL);
	receive(MULTISHOT, 0);
	n = gets(PAGE);
	unmap(g->addr[n] + PAGE, PAGE);
}

/* Of two groups, each has its own buffers under the same numbers. */
static void second(void)
{
	unsigned short n;

	open_group(0);
	g = &groups[1];
	add_group(0);
	for (int i = 0; i < 4 * ENTRIES; i++) {
		g = &groups[i % 2];
		receive(0, 0);
		n = gets(10);
		unmap(g->addr[n], SIZE);
		provide_new(n);
	}
	receive(0, 0);
	unmap(groups[0].addr[2], SIZE);
	unmap(groups[1].addr[2], SIZE);
}

enum { OTHERS = 4000, FIRST_OTHER = 1000 };

/* They share the memory of one ring, and no request takes a buffer of theirs. */
static void other_groups(int op, unsigned short first, unsigned short step)
{
	static char *at;

	at = at ? at : map(PAGE);
	for (unsigned short i = first; i < OTHERS; i += step) {
		struct io_uring_buf_reg group = {.ring_addr = (uintptr_t)at,
						 .ring_entries = ENTRIES,
						 .bgid = (unsigned short)(FIRST_OTHER + i)};

		if (op == IORING_UNREGISTER_PBUF_RING)
			group = (struct io_uring_buf_reg){.bgid = group.bgid};
		skip(!ring_register(&ring, (unsigned int)op, &group, 1), "so many groups");
	}
}

/* One of many, some of which have gone, and others have come. */
static void of_many(void)
{
	unsigned short n;

	open_ring();
	other_groups(IORING_REGISTER_PBUF_RING, 0, 2);
	add_group(0);
	other_groups(IORING_REGISTER_PBUF_RING, 1, 2);
	other_groups(IORING_UNREGISTER_PBUF_RING, 0, 3);
	receive(0, 0);
	n = gets(10);
	unmap(g->addr[n], SIZE);
	provide_new(n);
	other_groups(IORING_REGISTER_PBUF_RING, 0, 3);
	receive(0, 0);
	unmap(g->addr[2], SIZE);
}

static void given(void)
{
	open_given();
	receive(MULTISHOT, 0);
	unmap(g->addr[(gets(10) + 1) % ENTRIES], SIZE);
}

/* The request was there before the group. */
static void early_on(void)
{
	unsigned short n;

	open_ring();
	receive(LATER, 0);
	add_group(0);
	n = gets(10);
	receive(0, 0);
	unmap(g->addr[(n + 1) % ENTRIES], SIZE);
}

static void given_again(void)
{
	unsigned short n;

	open_given();
	receive(MULTISHOT, 0);
	n = gets(10);
	need(give(IORING_OP_PROVIDE_BUFFERS, 1, g->addr[n], n) >= 0, "PROVIDE_BUFFERS");
	unmap(g->addr[n], SIZE);
}

/* ---- right */

static void given_taken(void)
{
	open_given();
	receive(MULTISHOT, 0);
	for (int i = 0; i < 100; i++) {
		unsigned short n = gets(10);

		unmap(g->addr[n], SIZE);
		g->addr[n] = map(SIZE);
		need(give(IORING_OP_PROVIDE_BUFFERS, 1, g->addr[n], n) >= 0, "PROVIDE_BUFFERS");
	}
}

static void given_back(void)
{
	open_given();
	receive(MULTISHOT, 0);
	need(give(IORING_OP_REMOVE_BUFFERS, ENTRIES, NULL, 0) == ENTRIES, "REMOVE_BUFFERS");
	for (int i = 0; i < ENTRIES; i++)
		unmap(g->addr[i], SIZE);
}

/* There is no such number. */
static void given_in_vain(void)
{
	char *at = map(SIZE);

	open_given();
	receive(MULTISHOT, 0);
	need(give(IORING_OP_PROVIDE_BUFFERS, 2, at, 65535) < 0, "a refusal");
	unmap(at, SIZE);
}

static void given_nowhere(void)
{
	static const unsigned int firsts[] = {0x80000000, -1u, 65536};
	char *at = map(SIZE);

	open_given();
	for (int i = 0; i < 3; i++)
		need(give(IORING_OP_PROVIDE_BUFFERS, 1, at, firsts[i]) < 0, "a refusal");
}

static void refused(void)
{
	open_ring();
#ifdef IO_URING_VERSION_MAJOR
	skip(!by_liburing, "liburing that leaves it to the kernel");
#endif
	need(ring_register(&ring, IORING_REGISTER_PBUF_RING, NULL, 1) < 0, "a refusal");
}

/* What came is the program's, whether the request or its group was there before. */
static void gets_early(void)
{
	unsigned short n = gets(10);

	receive(0, 0);
	unmap(g->addr[n], SIZE);
	gets(10);
}

static void early(void)
{
	open_ring();
	receive(LATER, 0);
	add_group(0);
	gets_early();
}

/* Of two groups, each has its own. */
static void early_of_two(void)
{
	open_group(0);
	g = &groups[1];
	receive(LATER, 0);
	add_group(0);
	gets_early();
	g = &groups[0];
	receive(0, 0);
	unmap(g->addr[2], SIZE);
}

/* A request of the second group, for which nothing comes. */
static void receive_idle(void)
{
	const int busy = ends[0];
	int idle[2];

	need(!socketpair(AF_UNIX, SOCK_STREAM, 0, idle), "socketpair");
	g = &groups[1];
	add_group(0);
	ends[0] = idle[0];
	receive(0, 0);
	ends[0] = busy;
	g = &groups[0];
}

static void early_given(void)
{
	open_ring();
	receive(LATER, 0);
	give_group();
	gets_early();
}

/* Nobody says that it has taken the first. */
static void early_silent(void)
{
	open_ring();
	takes_by(IORING_OP_RECV, LATER, NULL, 0, IOSQE_CQE_SKIP_SUCCESS);
	add_group(0);
	peer_sends(10);
	receive(0, 0);
	unmap(g->addr[0], SIZE);
	need(gets(10) == 1, "the second buffer");
}

/* The request stays, and takes one of the next group's; but another, of another group, has its user_data. */
static void outlives(void)
{
	user_data = 1;
	open_group(0);
	receive(LATER, 0);
	remove_group();
	add_group(0);
	receive_idle();
	user_data = 0;
	gets_early();
}

/* In such a ring nothing is followed. */
static void own_memory(void)
{
	ring_open(&ring, by_liburing, RING_NO_MMAP);
	for (int i = 0; i < 100; i++)
		give(IORING_OP_PROVIDE_BUFFERS, 1, map(SIZE), 0);
}

static void none(void)
{
	open_group(0);
	receive(0, 0);
	gets(10);
	ring_close(&ring);
}

static void idle(void)
{
	open_group(0);
	unmap(g->addr[2], SIZE);
	receive(0, 0);
	unmap(g->addr[gets(10)], SIZE);
	unmap(g->addr[3], SIZE);
}

/* Nobody can say whose buffers come back. */
static void same_user_data(void)
{
	open_group(0);
	g = &groups[1];
	add_group(0);
	user_data = 1;
	for (int i = 0; i < 4 * ENTRIES; i++) {
		unsigned short n;

		g = &groups[0];
		receive(0, 0);
		g = &groups[1];
		receive(0, 0);
		for (int k = 0; k < 2; k++) {
			g = &groups[k];
			n = gets(10);
			unmap(g->addr[n], SIZE);
			provide_new(n);
		}
	}
}

static void taken(void)
{
	open_group(0);
	receive(MULTISHOT, 0);
	for (int i = 0; i < 100; i++) {
		unsigned short n = gets(10);

		unmap(g->addr[n], SIZE);
		provide_new(n);
	}
}

static void other_pages(void)
{
	open_group(0);
	receive(MULTISHOT, 0);
	need(!madvise(g->addr[1], SIZE, MADV_DONTNEED), "madvise");
	need(mmap(g->addr[2], SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		  -1, 0) == g->addr[2],
	     "mmap");
	for (int i = 0; i < ENTRIES; i++)
		gets(10);
}

static void first_part(void)
{
	unsigned short n;

	open_group(INCREMENTAL);
	receive(MULTISHOT, 0);
	n = gets(PAGE);
	unmap(g->addr[n], PAGE);
	need(gets(PAGE) == n, "the rest of the same buffer");
	unmap(g->addr[n] + PAGE, PAGE);
}

/* No request uses more than its length. */
static void behind_length(void)
{
	open_group(0);
	receive(0, 100);
	unmap(g->addr[2] + PAGE, PAGE);
}

static void behind_vector(void)
{
	struct iovec iov = {.iov_len = 100};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	open_group(0);
	takes_by(IORING_OP_RECVMSG, 0, &message, 1, 0);
	takes_by(IORING_OP_READV, 0, &iov, 1, 0);
	unmap(g->addr[2] + PAGE, PAGE);
}

static void ended(void)
{
	open_group(0);
	receive(MULTISHOT, 0);
	gets(10);
	shutdown(ends[1], SHUT_WR);
	need(ring_reap(&ring) == 0, "the end of the connection");
	for (int i = 0; i < ENTRIES; i++)
		unmap(g->addr[i], SIZE);
}

static void unregistered(void)
{
	open_group(0);
	receive(MULTISHOT, 0);
	gets(10);
	remove_group();
	for (int i = 0; i < ENTRIES; i++)
		unmap(g->addr[i], SIZE);
}

static void closed(void)
{
	open_group(0);
	receive(MULTISHOT, 0);
	ring_close(&ring);
	for (int i = 0; i < ENTRIES; i++)
		unmap(g->addr[i], SIZE);
}

/* ---- the kernel takes buffers all the time, while the program gives those back that it has got */

enum { ROUNDS = 5000 };

static void *sends(void *arg)
{
	for (int i = 0; i < ROUNDS; i++)
		need(send(ends[1], "a", 1, 0) == 1, "send");
	return arg;
}

static void storm(void)
{
	unsigned int flags;
	pthread_t t;
	int res;

	open_group(0);
	receive(MULTISHOT, 0);
	need(!pthread_create(&t, NULL, sends, NULL), "pthread_create");
	for (int got = 0; got < ROUNDS;) {
		ring_reap_cqe(&ring, &res, &flags);
		if (flags & IORING_CQE_F_BUFFER) {
			const unsigned short n = (unsigned short)(flags >> IORING_CQE_BUFFER_SHIFT);

			got += res;
			unmap(g->addr[n], SIZE);
			provide_new(n);
		}
		/* There was none left. */
		if (!(flags & IORING_CQE_F_MORE) && got < ROUNDS)
			receive(MULTISHOT, 0);
	}
	pthread_join(t, NULL);
}

/* All of it is known yet. */
static void after_storm(void)
{
	storm();
	receive(0, 0);
	unmap(g->addr[2], SIZE);
}

static const struct ring_case cases[] = {
	{"armed", armed},
	{"armed-on", armed_on},
	{"provided-again", provided_again},
	{"kernel-s-ring", kernel_s_ring},
	{"rest", rest},
	{"second", second},
	{"of-many", of_many},
	{"given", given},
	{"given-again", given_again},
	{"given-taken", given_taken},
	{"given-back", given_back},
	{"given-in-vain", given_in_vain},
	{"given-nowhere", given_nowhere},
	{"refused", refused},
	{"own-memory", own_memory},
	{"early", early},
	{"early-on", early_on},
	{"early-given", early_given},
	{"early-of-two", early_of_two},
	{"early-silent", early_silent},
	{"outlives", outlives},
	{"none", none},
	{"idle", idle},
	{"taken", taken},
	{"same-user-data", same_user_data},
	{"other-pages", other_pages},
	{"first-part", first_part},
	{"behind-length", behind_length},
	{"behind-vector", behind_vector},
	{"ended", ended},
	{"unregistered", unregistered},
	{"closed", closed},
	{"storm", storm},
	{"after-storm", after_storm},
};

int main(int argc, char **argv)
{
	const char *name = ring_form(argv[1], &by_liburing);

	need(name, "check-provided 'FORM CASE'");
	ring_run(cases, sizeof(cases) / sizeof(cases[0]), name);
	return 0;
}
