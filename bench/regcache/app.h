/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs that allocate and transfer as applications do, so that a cache hits, misses and is invalidated in one run.
 * They draw from a seed: each side gets the same allocations and transfers in the same order.
 */
#ifndef BENCH_REGCACHE_APP_H
#define BENCH_REGCACHE_APP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/regcache/side.h"

/* A thread of the application. */
struct app {
	struct side *side;
	struct cache *cache;
	uint64_t seed;
	uint64_t steps;
	struct bench_tally tally;
	bool failed;
};

/* The application writes its message or record, a byte of each page, and transfers it. */
void app_send(struct app *me, char *addr, size_t length);
/* The device fills the buffer, and the application uses what has come. */
void app_receive(struct app *me, char *addr, size_t length);

/* From least, a power of two, to least << doublings, as many in each power of two. */
size_t app_draw_size(struct app *me, size_t least, unsigned int doublings);
/* True for so many of a thousand. */
bool app_draw(struct app *me, unsigned int of_thousand);

/* malloc; notes a failure, and then returns NULL. */
char *app_alloc(struct app *me, size_t length);

void app_malloc(struct app *me);
void app_mpi(struct app *me);
void app_storage(struct app *me);

#endif
