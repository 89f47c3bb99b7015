/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs of pages: read into one buffer and written to the log, by the same thread or by another one. */
#include "tests/engine/heap.h"
#include "tests/engine/work.h"

/* From the first threshold on malloc maps a buffer by itself. */
#define THRESHOLD ((size_t)128 << 10)

/* Whole blocks. */
static size_t draw_length(struct worker *w, size_t least, size_t most)
{
	return least + BLOCK * work_below(w, (unsigned int)((most - least) / BLOCK) + 1);
}

/* Old pages are merged. */
void work_compact(struct worker *w)
{
	size_t length = draw_length(w, THRESHOLD, 3 * THRESHOLD);
	char *buffer = heap_allocated(length);

	pages_load(w, buffer, pages_draw(w, length), length);
	log_append(w, buffer, length);
	heap_give_back(buffer);
}

static bool post(struct mailbox *box, struct letter l)
{
	bool has_room;

	pthread_mutex_lock(&box->lock);
	has_room = box->n < LETTERS;
	if (has_room)
		box->letter[box->n++] = l;
	pthread_mutex_unlock(&box->lock);
	return has_room;
}

static struct letter take_letter(struct mailbox *box)
{
	struct letter l = {NULL, 0};

	pthread_mutex_lock(&box->lock);
	if (box->n)
		l = box->letter[--box->n];
	pthread_mutex_unlock(&box->lock);
	return l;
}

/* Reads for another thread, which writes and frees; and does so for what has come. */
void work_hand_over(struct worker *w)
{
	size_t length = draw_length(w, BLOCK, 2 * THRESHOLD);
	struct letter l = {heap_allocated(length), length}, got = take_letter(&w->box);

	pages_load(w, l.buffer, pages_draw(w, length), length);
	if (!post(w->next, l))
		heap_give_back(l.buffer);
	if (got.buffer)
		log_append(w, got.buffer, got.length);
	heap_give_back(got.buffer);
}
