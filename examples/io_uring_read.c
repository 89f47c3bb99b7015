/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads a file into ordinary memory through io_uring's fixed buffers. If a buffer cannot be registered, reads without
 * one. Link with -lmrn-uring, -lmrn and, since nothing here calls munmap by name, -Wl,--no-as-needed -lmrn-interpose.
 */
#include <fcntl.h>
#include <mrn/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIZE (256u << 10)

static unsigned int plain;

static int read_at(struct io_uring *ring, struct mrn_uring *u, int fd, char *to)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct mrn_uring_buf *buf;
	struct io_uring_cqe *cqe;
	int r = mrn_uring_prep_read_fixed(u, sqe, fd, to, SIZE, 0, &buf);

	if (r) {
		fprintf(stderr, "io_uring_read: %s\n", mrn_uring_explain(r));
		io_uring_prep_read(sqe, fd, to, SIZE, 0);
		plain++;
	}
	r = io_uring_submit_and_wait(ring, 1);
	if (r > 0)
		r = io_uring_wait_cqe(ring, &cqe);
	if (!r) {
		r = cqe->res;
		io_uring_cqe_seen(ring, cqe);
	}
	if (buf) /* not before the completion */
		mrn_uring_put(buf);
	return r;
}

int main(void)
{
	char why[256] = "", name[] = "/tmp/mrn-example-XXXXXX", *from = malloc(SIZE), *to;
	struct mrn_source_opts sopts = {.size = sizeof(sopts), .need = MRN_COVER_PAGES};
	struct mrn_uring_opts opts = {.size = sizeof(opts)};
	struct mrn_regcache_stats s;
	struct io_uring ring;
	struct mrn_uring *u;
	int fd = mkstemp(name), r;

	if (fd < 0 || !from || unlink(name) || write(fd, memset(from, 'x', SIZE), SIZE) != SIZE)
		return 1;
	sopts.why = opts.why = why;
	sopts.why_size = opts.why_size = sizeof(why);
	r = io_uring_queue_init(4, &ring, 0);
	if (!r)
		r = mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &sopts, &opts.source);
	if (!r)
		r = mrn_uring_create(&ring, &opts, &u);
	if (r) {
		fprintf(stderr, "io_uring_read: skipped: %s\n", *why ? why : strerror(-r));
		return 77;
	}
	/* free returns memory to the kernel or keeps it: the cache hears of it from inside libc. */
	for (int i = 0; i < 100; i++) {
		to = malloc(SIZE);
		if (!to || read_at(&ring, u, fd, to) != SIZE || memcmp(from, to, SIZE))
			return 1;
		free(to);
	}
	mrn_uring_get_stats(u, &s, sizeof(s));
	printf("100 reads, all right: registrations %llu, hits %llu, plain %u\n",
	       (unsigned long long)s.registrations, (unsigned long long)s.hits, plain);
	mrn_uring_destroy(u);
	io_uring_queue_exit(&ring);
	return mrn_source_detach(opts.source) != 0;
}
