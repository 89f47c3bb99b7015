/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes text into a file: gzipped if this was built with zlib, else as it is.
 *
 * Packing takes several times as long as making the text. So the text is cut into blocks, which threads pack one by
 * one; the results, concatenated, are one gzip stream. The caller writes them in order.
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
	size_t nr; /* bytes of text */
	unsigned char *packed;
	size_t size; /* bytes of packed; 0: it could not be packed */
	uint32_t check;
	bool done;
};

struct pack {
	FILE *out;
	int error; /* the first; what is put after it is dropped */
	struct pack_block block[PACK_BLOCKS];
	/*
	 * Blocks are used in turn, written <= taken <= filled < written + PACK_BLOCKS: those from taken on wait for a
	 * worker; the caller alone fills the one at filled. The lock guards filled, taken, over, and each block's done:
	 * whoever sees done sees the packed bytes.
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
 * Room for size bytes, PACK_TEXT at most, to be written in place; pass pack_end their end. For very many short pieces.
 */
char *pack_begin(struct pack *p, size_t size);
void pack_end(struct pack *p, const char *end);

/* Writes the rest. 0, or the first error as -errno. */
int pack_finish(struct pack *p);

#endif
