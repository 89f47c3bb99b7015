/* SPDX-License-Identifier: BSD-3-Clause */
/* What clients ask for: buffers of 4 to 32 KiB, which are freed some requests later. */
#include "tests/engine/heap.h"
#include "tests/engine/work.h"

/* Takes the place of an older request's. */
static char *request_buffer(struct worker *w, size_t *length)
{
	char **p = &w->request[work_below(w, REQUESTS)];
	size_t base = (size_t)4096 << work_below(w, 3);

	*length = base + SECTOR * work_below(w, (unsigned int)(base / SECTOR) + 1);
	heap_give_back(*p);
	*p = heap_allocated(*length);
	return *p;
}

/* A client asks for what is in the pages. */
void work_serve_get(struct worker *w)
{
	size_t length;
	char *buffer = request_buffer(w, &length);
	unsigned int block = pages_draw(w, PIPE_MOST);

	pages_load(w, buffer, block, length);
	ring_transfer(&w->ring, (struct transfer){.way = SEND,
						  .store = &w->pages,
						  .block = block,
						  .addr = buffer,
						  .length = length});
}

/* A client sends what is to be in the log; it is acknowledged with what has been written. */
void work_serve_put(struct worker *w)
{
	struct transfer t = {.way = RECEIVE, .store = &w->log};

	t.addr = request_buffer(w, &t.length);
	t.block = log_reserve(w, t.length);
	ring_transfer(&w->ring, t);
	t.way = SAVE;
	ring_transfer(&w->ring, t);
	t.way = SEND;
	ring_transfer(&w->ring, t);
}
