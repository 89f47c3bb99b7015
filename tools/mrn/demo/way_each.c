/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * each: memory is registered for one transfer and given back after it. Correct, and slow.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "tools/mrn/demo/demo.h"

struct each {
	struct io_uring *ring;
	uint64_t registrations;
};

static int each_open(struct io_uring *ring, struct mrn_source *source, void **state)
{
	struct each *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return -ENOMEM;
	e->ring = ring;
	r = io_uring_register_buffers_sparse(ring, 1);
	if (r) {
		free(e);
		return r;
	}
	*state = e;
	return 0;
}

static int update_slot(struct each *e, char *addr, size_t length)
{
	struct iovec iov = {.iov_base = addr, .iov_len = length};
	__u64 tag = 0;

	return io_uring_register_buffers_update_tag(e->ring, 0, &iov, &tag, 1);
}

static int each_get(void *state, const struct demo_buffer *b, char *addr, size_t length,
		    unsigned int access, struct demo_loan *loan)
{
	struct each *e = state;
	int r = update_slot(e, addr, length);

	if (r < 0)
		return r;
	e->registrations++;
	loan->index = 0;
	return 0;
}

static void each_put(void *state, struct demo_loan *loan)
{
	update_slot(state, NULL, 0);
}

static void each_add_figures(void *state, struct demo_figures *figures)
{
	struct each *e = state;

	figures->registrations += e->registrations;
}

static void each_close(void *state)
{
	struct each *e = state;

	io_uring_unregister_buffers(e->ring);
	free(e);
}

const struct demo_way demo_each = {
	.name = "each",
	.open = each_open,
	.get = each_get,
	.put = each_put,
	.add_figures = each_add_figures,
	.close = each_close,
};
