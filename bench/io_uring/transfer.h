/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transfers by io_uring: what is read from or sent to, and the ways to have a buffer ready for it.
 */
#ifndef BENCH_IO_URING_TRANSFER_H
#define BENCH_IO_URING_TRANSFER_H

#include <liburing.h>
#include <mrn/io_uring.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRANSFER_BUFFERS 32 /* which are used in turn */
#define TRANSFER_DEPTH	 8  /* of them in flight */

/* ------------------------------------------------------------------------------------ target.c */

struct target {
	int fd;
	bool is_socket; /* is sent to; a file is read */
	int other_end;	/* which a thread empties */
	pthread_t drain;
};

/* size: of one transfer. 0 or -errno; then nothing is left behind. */
int target_open_file(struct target *t, size_t size);
int target_open_tmpfs(struct target *t, size_t size);
int target_open_socket(struct target *t, size_t size);
void target_close(struct target *t);

/* --------------------------------------------------------------------------------------- way.c */

struct way;

/* For a batch of buffers, by number. begin fills index: of the ring's table, or -1. */
struct way_ops {
	const char *name;
	int (*open)(struct way *w);
	void (*close)(struct way *w);
	int (*begin)(struct way *w, const uint8_t *buffers, int *index);
	void (*end)(struct way *w);
};

extern const struct way_ops way_mrn, way_plain, way_register_each, way_registered_once;

struct way {
	const struct way_ops *ops;
	struct mrn_source *source;
	char *memory;
	size_t size;
	struct io_uring ring;
	struct mrn_uring *u;
	struct mrn_uring_buf *held[TRANSFER_DEPTH];
};

/*
 * Memory for each of so many ways, as what one does to its pages is no other's business. Their pages are the kernel's
 * in turns: how many of them lie side by side, which a disk or a socket is quicker with, is then the same for all.
 * 0 or -errno.
 */
int way_memory(size_t size, char **memory, size_t ways);
void way_memory_free(size_t size, char **memory, size_t ways);

/* 0 or -errno; then nothing is left behind. */
int way_open(struct way *w, const struct way_ops *ops, struct mrn_source *source, size_t size,
	     char *memory);
void way_close(struct way *w);

/* TRANSFER_DEPTH transfers at once, with these buffers. 0 or -errno. */
int way_batch(struct way *w, const struct target *t, const uint8_t *buffers);

#endif
