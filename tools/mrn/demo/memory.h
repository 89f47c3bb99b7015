/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The buffers of one run. A buffer's lock guards its address, size and generation, and passes its memory between
 * transfers and changes: shared for transfers that only read the memory, exclusive for one that writes it and for a
 * change.
 */
#ifndef MRN_DEMO_MEMORY_H
#define MRN_DEMO_MEMORY_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/mrn/demo/pattern.h"

enum memory_kind {
	MEMORY_MAPPING,	  /* a mapping of its own, which may move */
	MEMORY_HEAP,	  /* from malloc, large enough for a mapping of its own */
	MEMORY_NEIGHBOUR, /* packed with others into one mapping: shares its first and last page */
	MEMORY_BREAK,	  /* at the program break; only one */
	MEMORY_NR_KINDS
};

struct demo_buffer {
	pthread_rwlock_t lock;
	enum memory_kind kind;
	uint16_t id;
	uint32_t generation;
	char *addr;
	size_t size;
};

struct memory {
	struct demo_buffer *buffers;
	unsigned int nr;
	size_t max_size;
	size_t page;
	char *neighbourhood; /* the mapping of all neighbours */
	size_t neighbourhood_bytes;
};

/* Makes and fills enough buffers for this many transferring threads. Ends the program for lack of memory. */
void memory_make(struct memory *m, unsigned int threads, size_t max_size, uint64_t *random);
void memory_free(struct memory *m);

static inline size_t memory_page_up(const struct memory *m, size_t bytes)
{
	return (bytes + m->page - 1) & ~(m->page - 1);
}

/* A random size for a buffer of this kind. */
size_t memory_random_size(const struct memory *m, enum memory_kind kind, uint64_t *random);

static inline struct pattern memory_pattern(const struct demo_buffer *b)
{
	return (struct pattern){.buffer = b->id, .generation = b->generation};
}

#endif
