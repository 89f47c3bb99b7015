/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/check/programs/ring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ENTRIES = 8, SKIPPED = 77 };

void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

void skip(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "this kernel has no %s: %s\n", what, strerror(errno));
	exit(SKIPPED);
}

/* The calls themselves, by liburing's functions. */
static bool by_calls;

const char *ring_form(const char *word, bool *by_liburing)
{
	const char *space = word ? strchr(word, ' ') : NULL;
	const size_t n = space ? (size_t)(space - word) : 0;

	if (!space)
		return NULL;
	by_calls = n == 5 && !strncmp(word, "calls", n);
	*by_liburing = n == 8 && !strncmp(word, "liburing", n);
	return by_calls || *by_liburing || (n == 4 && !strncmp(word, "bare", n)) ? space + 1 : NULL;
}

void ring_run(const struct ring_case *cases, size_t nr, const char *name)
{
	size_t i = 0;

	while (i < nr && strcmp(cases[i].name, name))
		i++;
	errno = EINVAL;
	need(i < nr, name);
	cases[i].run();
}

static int set_up(unsigned int entries, struct io_uring_params *p)
{
	return by_calls ? io_uring_setup(entries, p) : (int)syscall(SYS_io_uring_setup, entries, p);
}

static char *map(size_t size, int fd, off_t offset)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, offset);

	need(p != MAP_FAILED, "mmap");
	return p;
}

static void open_bare(struct ring *r, unsigned int flags)
{
	struct io_uring_params *p = &r->params;

	p->flags = flags;
	p->cq_entries = ENTRIES;
	if (flags & RING_NO_MMAP) {
		r->rings = map(4096, -1, 0);
		r->sqes = map(4096, -1, 0);
		p->cq_off.resv2 = (uintptr_t)r->rings;
		p->sq_off.resv2 = (uintptr_t)r->sqes;
	}
	r->fd = set_up(ENTRIES, p);
	skip(r->fd >= 0, "such rings");
	need(p->features & IORING_FEAT_SINGLE_MMAP, "one mapping");
	if (!r->rings) {
		r->rings = map(p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe), r->fd,
			       IORING_OFF_SQ_RING);
		r->sqes = map(ENTRIES * 128, r->fd, IORING_OFF_SQES);
	}
}

void ring_open(struct ring *r, bool by_liburing, unsigned int flags)
{
	int e;

	memset(r, 0, sizeof(*r));
	r->by_liburing = by_liburing;
	if (by_liburing) {
		r->params.flags = flags;
		r->params.cq_entries = ENTRIES;
		e = io_uring_queue_init_params(ENTRIES, &r->uring, &r->params);
		errno = -e;
		skip(!e, "such rings");
		r->fd = r->uring.ring_fd;
	} else {
		open_bare(r, flags);
	}
	r->enters = r->fd;
}

void ring_close(struct ring *r)
{
	if (r->by_liburing)
		io_uring_queue_exit(&r->uring);
	else
		close(r->fd);
}

void ring_register_fd(struct ring *r)
{
	struct io_uring_rsrc_update up = {.offset = -1u, .data = (unsigned int)r->fd};

	if (r->by_liburing) {
		need(io_uring_register_ring_fd(&r->uring) == 1, "io_uring_register_ring_fd");
		return;
	}
	need(ring_register(r, IORING_REGISTER_RING_FDS, &up, 1) == 1, "IORING_REGISTER_RING_FDS");
	r->enters = (int)up.offset;
	r->enter_flags = IORING_ENTER_REGISTERED_RING;
}

static unsigned int *word(const struct ring *r, unsigned int offset)
{
	return (unsigned int *)(void *)(r->rings + offset);
}

struct io_uring_sqe *ring_sqe(struct ring *r)
{
	const struct io_uring_params *p = &r->params;
	const unsigned int i = r->tail % ENTRIES;
	struct io_uring_sqe *sqe;

	if (r->by_liburing)
		return io_uring_get_sqe(&r->uring);
	sqe = (void *)(r->sqes + i * (p->flags & IORING_SETUP_SQE128 ? 128 : 64));
	if (!(p->flags & RING_NO_SQARRAY))
		word(r, p->sq_off.array)[i] = i;
	r->tail++;
	return sqe;
}

static int enter(const struct ring *r, unsigned int submit, unsigned int wait, unsigned int flags)
{
	flags |= r->enter_flags;
	if (by_calls && wait)
		return io_uring_enter((unsigned int)r->enters, submit, wait, flags, NULL);
	if (by_calls)
		return io_uring_enter2((unsigned int)r->enters, submit, wait, flags, NULL, 0);
	return (int)syscall(SYS_io_uring_enter, r->enters, submit, wait, flags, NULL, 0);
}

void ring_submit(struct ring *r)
{
	const struct io_uring_params *p = &r->params;
	unsigned int n, flags = 0;

	if (r->by_liburing) {
		need(io_uring_submit(&r->uring) >= 0, "io_uring_submit");
		return;
	}
	n = r->tail - *word(r, p->sq_off.tail);
	__atomic_store_n(word(r, p->sq_off.tail), r->tail, __ATOMIC_SEQ_CST);
	if (p->flags & IORING_SETUP_SQPOLL) {
		if (!(__atomic_load_n(word(r, p->sq_off.flags), __ATOMIC_SEQ_CST) &
		      IORING_SQ_NEED_WAKEUP))
			return;
		flags = IORING_ENTER_SQ_WAKEUP;
	}
	need(enter(r, n, 0, flags) == (int)n, "io_uring_enter");
}

void ring_wait(struct ring *r)
{
	struct io_uring_cqe *cqe;

	if (r->by_liburing)
		need(!io_uring_wait_cqe(&r->uring, &cqe), "io_uring_wait_cqe");
	else
		need(enter(r, 0, 1, IORING_ENTER_GETEVENTS) >= 0, "io_uring_enter");
}

void ring_reap_cqe(struct ring *r, int *res, unsigned int *flags)
{
	const struct io_uring_params *p = &r->params;
	struct io_uring_cqe *cqe;
	unsigned int *head;

	ring_wait(r);
	if (r->by_liburing) {
		io_uring_wait_cqe(&r->uring, &cqe);
		*res = cqe->res;
		*flags = cqe->flags;
		io_uring_cqe_seen(&r->uring, cqe);
		return;
	}
	head = word(r, p->cq_off.head);
	need(*head != __atomic_load_n(word(r, p->cq_off.tail), __ATOMIC_ACQUIRE), "a completion");
	cqe = (void *)(r->rings + p->cq_off.cqes);
	*res = cqe[*head % p->cq_entries].res;
	*flags = cqe[*head % p->cq_entries].flags;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
}

int ring_reap(struct ring *r)
{
	unsigned int flags;
	int res;

	ring_reap_cqe(r, &res, &flags);
	return res;
}

int ring_register(struct ring *r, unsigned int op, const void *arg, unsigned int nr)
{
	if (r->by_liburing && op == IORING_REGISTER_BUFFERS)
		return io_uring_register_buffers(&r->uring, arg, nr);
	if (r->by_liburing && op == IORING_UNREGISTER_BUFFERS)
		return io_uring_unregister_buffers(&r->uring);
	if (r->by_liburing && op == IORING_REGISTER_PBUF_RING)
		return io_uring_register_buf_ring(&r->uring, (void *)(uintptr_t)arg, 0);
	if (r->by_liburing && op == IORING_UNREGISTER_PBUF_RING)
		return io_uring_unregister_buf_ring(&r->uring,
						    ((const struct io_uring_buf_reg *)arg)->bgid);
	if (by_calls)
		return io_uring_register((unsigned int)r->fd, op, arg, nr);
	return (int)syscall(SYS_io_uring_register, r->fd, op, arg, nr);
}
