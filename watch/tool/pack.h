/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Text on its way into a file: through gzip where this was built with zlib, else as it is.
 *
 * Packing takes several times as long as making the text. So the text is cut into blocks, each of which is
 * packed by itself, by threads; their results, one behind the other, are one gzip stream. They are written in
 * order, by the caller.
 */
#ifndef MRN_WATCH_PACK_H
#define MRN_WATCH_PACK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PACK_TEXT    (UINT32_C(1) << 18)
#define PACK_BLOCKS  6
#define PACK_WORKERS 3

struct pack_block {
	char *text;
	size_t nr; /* of it */
	unsigned char *packed;
	size_t size; /* of it; 0: it could not be packed */
	uint32_t check;
	bool done;
};

struct pack {
	FILE *out;
	int error; /* the first; what is put after it is dropped */
	struct pack_block block[PACK_BLOCKS];
	/*
	 * Blocks are used in turn, written <= taken <= filled < written + PACK_BLOCKS: those from taken on
	 * wait for a worker; the one at filled is being filled, and is the caller's alone. The lock is for
	 * filled, taken, over, and a block's done: who sees done sees what has been packed.
	 */
	unsigned int written, taken, filled;
	bool over;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t worker[PACK_WORKERS];
	unsigned int nr_workers; /* 0: the caller packs */
	/* Of all that has been written. */
	uint32_t check;
	uint64_t size;
};

/* Into out, which the caller closes after pack_finish. 0 or -errno. */
int pack_start(struct pack *p, FILE *out);

void pack_put(struct pack *p, const char *text, size_t size);

/*
 * Room for size bytes, PACK_TEXT at most, to be written in place; pack_end says where they end. For very
 * many short pieces.
 */
char *pack_begin(struct pack *p, size_t size);
void pack_end(struct pack *p, const char *end);

/* Writes what is left. 0, or the first error as -errno. */
int pack_finish(struct pack *p);

#endif
