/* SPDX-License-Identifier: BSD-3-Clause */
/* The log, and a record of it that grows. */
#include "tests/engine/heap.h"
#include "tests/engine/work.h"

#define LOG_BLOCKS   512
#define LEAST_RECORD ((size_t)32 << 10)
#define MOST_RECORD  ((size_t)512 << 10)
#define RECORD_BLOCK LOG_BLOCKS /* behind the rest of the log, which begins again at its front */

void log_open(struct worker *w, unsigned int number)
{
	store_open(&w->log, number, LOG_BLOCKS + MOST_RECORD / BLOCK);
}

unsigned int log_reserve(struct worker *w, size_t length)
{
	unsigned int blocks = (unsigned int)((length + BLOCK - 1) / BLOCK), at = w->log_end;

	if (at + blocks > LOG_BLOCKS)
		at = 0;
	w->log_end = at + blocks;
	return at;
}

void log_append(struct worker *w, char *addr, size_t length)
{
	unsigned int block = log_reserve(w, length);

	store_renew(&w->log, block, addr, length);
	ring_transfer(&w->ring, (struct transfer){.way = SAVE,
						  .store = &w->log,
						  .block = block,
						  .addr = addr,
						  .length = length});
}

/* By half. What was there is written again from where realloc has put it. */
void work_grow_record(struct worker *w)
{
	size_t old = w->record_length,
	       length = old ? (old + old / 2) / BLOCK * BLOCK : LEAST_RECORD;

	if (length > MOST_RECORD) {
		heap_give_back(w->record);
		w->record = NULL;
		w->record_length = 0;
		return;
	}
	w->record = heap_resized(w->record, length);
	w->record_length = length;
	store_renew(&w->log, RECORD_BLOCK + (unsigned int)(old / BLOCK), w->record + old,
		    length - old);
	ring_transfer(&w->ring, (struct transfer){.way = SAVE,
						  .store = &w->log,
						  .block = RECORD_BLOCK,
						  .addr = w->record,
						  .length = length});
}
