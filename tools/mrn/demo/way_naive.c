/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * naive: what people write. A buffer is registered when its address and length are first seen, and that registration is
 * used ever after.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "tools/mrn/demo/demo.h"
#include "tools/mrn/demo/memory.h"

struct known {
	char *addr;
	size_t size;
};

struct naive {
	struct io_uring *ring;
	struct known known[DEMO_SLOTS];
	unsigned int oldest; /* the next slot to use */
	uint64_t hits, registrations;
};

static int naive_open(struct io_uring *ring, struct mrn_source *source, void **state)
{
	struct naive *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return -ENOMEM;
	n->ring = ring;
	r = io_uring_register_buffers_sparse(ring, DEMO_SLOTS);
	if (r) {
		free(n);
		return r;
	}
	*state = n;
	return 0;
}

static int naive_register(struct naive *n, const struct demo_buffer *b)
{
	struct iovec iov = {.iov_base = b->addr, .iov_len = b->size};
	unsigned int slot = n->oldest;
	__u64 tag = 0;
	int r = io_uring_register_buffers_update_tag(n->ring, slot, &iov, &tag, 1);

	if (r < 0)
		return r;
	n->known[slot] = (struct known){b->addr, b->size};
	n->oldest = (slot + 1) % DEMO_SLOTS;
	n->registrations++;
	return (int)slot;
}

static int naive_get(void *state, const struct demo_buffer *b, char *addr, size_t length,
		     unsigned int access, struct demo_loan *loan)
{
	struct naive *n = state;
	int slot;

	for (unsigned int i = 0; i < DEMO_SLOTS; i++) {
		if (n->known[i].addr == b->addr && n->known[i].size == b->size) {
			n->hits++;
			loan->index = i;
			return 0;
		}
	}
	slot = naive_register(n, b);
	if (slot < 0)
		return slot;
	loan->index = (unsigned int)slot;
	return 0;
}

static void naive_put(void *state, struct demo_loan *loan)
{
}

static void naive_add_figures(void *state, struct demo_figures *figures)
{
	struct naive *n = state;

	figures->hits += n->hits;
	figures->registrations += n->registrations;
}

static void naive_close(void *state)
{
	struct naive *n = state;

	io_uring_unregister_buffers(n->ring);
	free(n);
}

const struct demo_way demo_naive = {
	.name = "naive",
	.open = naive_open,
	.get = naive_get,
	.put = naive_put,
	.add_figures = naive_add_figures,
	.close = naive_close,
};
