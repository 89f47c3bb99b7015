/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One thread's transfers, each checked byte for byte.
 */
#ifndef MRN_DEMO_TRANSFER_H
#define MRN_DEMO_TRANSFER_H

#include <liburing.h>
#include <stdint.h>

#include "tools/mrn/demo/demo.h"
#include "tools/mrn/demo/memory.h"

struct transfer {
	const struct demo_way *way;
	void *state; /* the way's */
	struct io_uring ring;
	int file;
	uint64_t place; /* in the file, for this thread only */
	char *scratch;	/* as large as the largest buffer */
	/* For this thread; other threads read transfers and stale meanwhile. */
	struct demo_figures figures;
};

/* Opens a ring and the way's state. 0, or -errno after a message. Set place and file before. */
int transfer_open(struct transfer *t, const struct demo_way *way, struct mrn_source *source,
		  size_t max_size);
/* Adds what t did to *figures. */
void transfer_close(struct transfer *t, struct demo_figures *figures);

/* Moves a part of b to the file or from it, and checks it. Takes b's lock. 0, or -errno of the transfer. */
int transfer_do(struct transfer *t, struct demo_buffer *b, uint64_t *random);

#endif
