/* SPDX-License-Identifier: BSD-3-Clause */
/* What a thread of the engine does. */
#ifndef TESTS_ENGINE_WORK_H
#define TESTS_ENGINE_WORK_H

#include <pthread.h>

#include "tests/engine/ring.h"
#include "tests/harness/sync.h"

#define FRAMES	 256
#define REQUESTS 128
#define LETTERS	 8

/* A block of the pages that is kept in memory. */
struct frame {
	char *memory; /* NULL: none yet, or given back */
	bool is_valid;
	unsigned int block;
};

/* Buffers that other threads have filled, and that this one is to write and free. */
struct mailbox {
	pthread_mutex_t lock;
	struct letter {
		char *buffer;
		size_t length;
	} letter[LETTERS];
	unsigned int n;
};

struct worker {
	struct ring ring;
	struct store pages, log;
	unsigned int log_end; /* block */
	struct frame frame[FRAMES];
	unsigned int shrinks;
	char *request[REQUESTS]; /* buffers of the latest requests */
	char *record;		 /* the log's record that grows */
	size_t record_length;
	struct mailbox box;
	struct mailbox *next; /* another worker's */
	struct test_rand rand;
};

void work_open(struct worker *w, unsigned int number);
/* One step of the usual work; or of one in which no buffer lives long. */
void work_usual(struct worker *w);
void work_short_lived(struct worker *w);
void work_close(struct worker *w);

/* What steps are made of, by files. */
unsigned int work_below(struct worker *w, unsigned int limit);

void pages_open(struct worker *w, unsigned int number);
/* Where length bytes of pages are to be read: mostly in the hot ones. */
unsigned int pages_draw(struct worker *w, size_t length);
void pages_load(struct worker *w, char *addr, unsigned int block, size_t length);
void work_use_pages(struct worker *w);
void work_shrink(struct worker *w);

void log_open(struct worker *w, unsigned int number);
/* The next blocks of the log that hold length bytes. */
unsigned int log_reserve(struct worker *w, size_t length);
/* Writes the buffer to the end of the log. */
void log_append(struct worker *w, char *addr, size_t length);
void work_grow_record(struct worker *w);

void work_serve_get(struct worker *w);
void work_serve_put(struct worker *w);

void work_compact(struct worker *w);
void work_hand_over(struct worker *w);

#endif
