/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transfers by io_uring: the files and sockets, and the ways to have a buffer ready.
 */
#ifndef BENCH_IO_URING_TRANSFER_H
#define BENCH_IO_URING_TRANSFER_H

#include <liburing.h>
#include <mrn/io_uring.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRANSFER_BUFFERS 32 /* used in turn */
#define TRANSFER_DEPTH	 8  /* in flight at a time */

/* ------------------------------------------------------------------------------------ target.c */

struct target {
	int fd;
	bool is_socket; /* written to; a file is read */
	int other_end;	/* drained by a thread */
	pthread_t drain;
};

/* size: of one transfer. 0 or -errno; then nothing is left behind. */
int target_open_file(struct target *t, size_t size);
int target_open_tmpfs(struct target *t, size_t size);
int target_open_socket(struct target *t, size_t size);
void target_close(struct target *t);

/* --------------------------------------------------------------------------------------- way.c */

struct way;

/* For a batch of buffers, by number. begin fills index with places in the ring's table, or -1. */
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
 * Memory for each of several ways, since one way's treatment of its pages must not affect another. The kernel's pages
 * are dealt out in turns, so that all ways have as many contiguous ones, which a disk or a socket transfers faster. 0
 * or -errno.
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
