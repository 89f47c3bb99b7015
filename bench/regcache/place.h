/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the buffers lie: each in a mapping of its own with a hole behind it, so that none are merged, or all in one
 * mapping. Aligned to their size, as good allocators do.
 */
#ifndef BENCH_REGCACHE_PLACE_H
#define BENCH_REGCACHE_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/regcache/work.h"

#define PLACE_ORDER 4096

struct place {
	char *memory; /* NULL: none */
	size_t length, stride;
	uint32_t buffers; /* their total number */
	void *reserved;	  /* the reservation around them */
	size_t reserved_size;
	uint16_t order[WORK_MAX_THREADS][PLACE_ORDER];
};

static inline char *place_buffer(const struct place *p, size_t i)
{
	return p->memory + i * p->stride;
}

/* 0 or -errno; close in either case. */
int place_open(struct place *p, const struct work *w);
void place_close(struct place *p);

/* A buffer as place_open has mapped it, populated as a device would have pinned it. */
bool place_map(const struct place *p, size_t i);

/* Writes to each page. */
void place_touch(char *at, size_t length);

#endif
