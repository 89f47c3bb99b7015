/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread's ring, and its transfers: several at a time, each through a fixed buffer of libmrn-uring where there is one.
 * Each is checked when it is over.
 */
#ifndef TESTS_ENGINE_RING_H
#define TESTS_ENGINE_RING_H

#include <mrn/io_uring.h>

#include "tests/engine/store.h"

#define RING_DEPTH 16
#define PIPE_MOST  ((size_t)32 << 10) /* a pipe takes that at once */

struct transfer {
	enum {
		LOAD,	 /* from the store to memory */
		SAVE,	 /* from memory to the store */
		SEND,	 /* what is in the store, from memory to the client */
		RECEIVE, /* what the store shall have, from the client to memory */
	} way;
	struct store *store;
	unsigned int block;
	char *addr;
	size_t length;
	struct mrn_uring_buf *buf; /* NULL: a plain one */
	int result;
};

struct ring {
	struct io_uring uring;
	struct mrn_uring *u;	   /* NULL: all transfers are plain */
	int request[2], answer[2]; /* pipes from the client and to it */
	struct transfer queue[RING_DEPTH];
	unsigned int queued;
	uint64_t transfers, unregistered, stale; /* as in struct engine_figures */
};

/* May so many bytes be pinned by fixed buffers here? */
bool ring_may_pin(size_t bytes);

/* source: NULL for a ring without libmrn-uring. */
void ring_open(struct ring *r, struct mrn_source *source, unsigned int flags);
void ring_close(struct ring *r);

/* Prepares a transfer. Of SEND and RECEIVE one at a time, of PIPE_MOST bytes at most. */
void ring_queue(struct ring *r, struct transfer t);
/* Makes all transfers that are prepared, and checks them. */
void ring_run(struct ring *r);
void ring_transfer(struct ring *r, struct transfer t);

#endif
