/* SPDX-License-Identifier: BSD-3-Clause */
/* The pages, some of which are kept in memory. */
#include <malloc.h>

#include "tests/engine/heap.h"
#include "tests/engine/work.h"

#define PAGES	   (4 * FRAMES)
#define HOT_PAGES  (PAGES / 5)
#define AT_ONCE	   8
#define TRIM_EVERY 64

void pages_open(struct worker *w, unsigned int number)
{
	store_open(&w->pages, number, PAGES);
}

unsigned int pages_draw(struct worker *w, size_t length)
{
	bool hot = work_below(w, 10) < 8;

	return work_below(w, hot ? HOT_PAGES : PAGES - (unsigned int)(length / BLOCK));
}

void pages_load(struct worker *w, char *addr, unsigned int block, size_t length)
{
	ring_transfer(&w->ring, (struct transfer){.way = LOAD,
						  .store = &w->pages,
						  .block = block,
						  .addr = addr,
						  .length = length});
}

static struct transfer of_frame(struct worker *w, struct frame *f)
{
	return (struct transfer){.store = &w->pages,
				 .block = f->block,
				 .addr = f->memory,
				 .length = BLOCK};
}

static void queue_load(struct worker *w, struct frame *f, unsigned int block)
{
	struct transfer t;

	if (f->is_valid && f->block == block)
		return;
	if (!f->memory)
		f->memory = heap_allocated(BLOCK);
	f->block = block;
	f->is_valid = true;
	t = of_frame(w, f);
	t.way = LOAD;
	ring_queue(&w->ring, t);
}

static void queue_change(struct worker *w, struct frame *f)
{
	struct transfer t = of_frame(w, f);

	store_renew(&w->pages, f->block, f->memory, BLOCK);
	t.way = SAVE;
	ring_queue(&w->ring, t);
}

/* Some pages in different frames are read unless they are there, and half of them are changed and written. */
void work_use_pages(struct worker *w)
{
	struct frame *used[AT_ONCE];
	unsigned int n = 0, first = work_below(w, FRAMES / AT_ONCE);

	for (; n < AT_ONCE; n++) {
		unsigned int at = first * AT_ONCE + n;

		used[n] = &w->frame[at];
		/* One of the blocks that this frame is for. */
		queue_load(w, used[n], at + FRAMES * work_below(w, PAGES / FRAMES));
	}
	ring_run(&w->ring);
	while (n--)
		if (work_below(w, 2))
			queue_change(w, used[n]);
	ring_run(&w->ring);
}

/* A quarter of the frames is given back to malloc, and now and then by malloc to the system. */
void work_shrink(struct worker *w)
{
	struct frame *from = &w->frame[work_below(w, 4) * (FRAMES / 4)];

	for (struct frame *f = from; f < from + FRAMES / 4; f++) {
		heap_give_back(f->memory);
		*f = (struct frame){NULL};
	}
	if (++w->shrinks % TRIM_EVERY == 0)
		malloc_trim(0);
}
