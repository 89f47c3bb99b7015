/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread of a storage engine: a pool of aligned blocks in mappings of its own, into which it reads and from which it
 * writes back; short-lived buffers for requests; and a log record that grows until it is written. Now and then a part of
 * the pool is given back to the system, by one of two ways, and used again.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "bench/regcache/app.h"
#include "os/random.h"

#define BLOCK	  ((size_t)16 << 10)
#define PER_PART  64
#define PARTS	  4
#define PART	  (PER_PART * BLOCK)
#define NR_BLOCKS (PARTS * PER_PART)

/* What a step does, of a thousand; otherwise it reads or writes a block. */
#define REQUESTS 80
#define GROWTHS	 19
#define SHRINKS	 1

/* Of a thousand accesses to blocks, so many go to a fifth of them. */
#define HOT	   800
#define HOT_BLOCKS (NR_BLOCKS / 5)
#define WRITES	   300 /* of a thousand accesses */

#define LEAST_REQUEST	  ((size_t)4 << 10)
#define REQUEST_DOUBLINGS 6 /* to 256 KiB */

#define LEAST_RECORD ((size_t)64 << 10)
#define MOST_RECORD  ((size_t)1 << 20)

struct engine {
	char *part[PARTS];
	char *record;
	size_t record_length;
	uint64_t shrinks;
};

static bool map_part(struct app *me, struct engine *e, size_t i)
{
	char *p = mmap(NULL, PART, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	e->part[i] = p == MAP_FAILED ? NULL : p;
	me->failed |= !e->part[i];
	return e->part[i];
}

static void access_block(struct app *me, struct engine *e)
{
	uint64_t n = mrn_random_below(&me->seed, app_draw(me, HOT) ? HOT_BLOCKS : NR_BLOCKS);
	char *block = e->part[n / PER_PART] + n % PER_PART * BLOCK;

	if (app_draw(me, WRITES))
		app_send(me, block, BLOCK);
	else
		app_receive(me, block, BLOCK);
}

static void serve_request(struct app *me)
{
	size_t length = app_draw_size(me, LEAST_REQUEST, REQUEST_DOUBLINGS);
	char *buffer = app_alloc(me, length);

	if (buffer)
		app_send(me, buffer, length);
	free(buffer);
}

/* By half; the log is written each time. */
static void grow_record(struct app *me, struct engine *e)
{
	size_t length = e->record ? e->record_length + e->record_length / 2 : LEAST_RECORD;
	char *grown;

	if (length > MOST_RECORD) {
		free(e->record);
		e->record = NULL;
		return;
	}
	grown = realloc(e->record, length);
	if (!grown) {
		me->failed = true;
		return;
	}
	e->record = grown;
	e->record_length = length;
	app_send(me, grown, length);
}

static void shrink_pool(struct app *me, struct engine *e)
{
	size_t i = mrn_random_below(&me->seed, PARTS);

	if (e->shrinks++ % 2) {
		madvise(e->part[i], PART, MADV_DONTNEED);
		return;
	}
	munmap(e->part[i], PART);
	map_part(me, e, i);
}

static void step(struct app *me, struct engine *e)
{
	uint64_t what = mrn_random_below(&me->seed, 1000);

	if (what < SHRINKS)
		shrink_pool(me, e);
	else if (what < SHRINKS + GROWTHS)
		grow_record(me, e);
	else if (what < SHRINKS + GROWTHS + REQUESTS)
		serve_request(me);
	else
		access_block(me, e);
}

void app_storage(struct app *me)
{
	struct engine e = {{NULL}};

	for (size_t i = 0; i < PARTS && !me->failed; i++)
		map_part(me, &e, i);
	for (uint64_t i = 0; i < me->steps && !me->failed; i++)
		step(me, &e);
	for (size_t i = 0; i < PARTS; i++)
		if (e.part[i])
			munmap(e.part[i], PART);
	free(e.record);
}
