/* SPDX-License-Identifier: BSD-3-Clause */
/* A thread whose last free, of blocks at the end of its own heap, makes glibc trim that heap; it may be held in there. */
#ifndef TESTS_SOURCE_HEAP_OWNER_H
#define TESTS_SOURCE_HEAP_OWNER_H

#include <stdlib.h>
#include <string.h>

#include "os/pages.h"
#include "os/thread.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"

/* Below the size from which malloc gives each block a mapping of its own. */
#define BLOCK 100000

#define MANY 32

/* A thread with blocks at the end of its own heap. */
struct owner {
	struct test_thread thread;
	struct test_gate ready, free_now, freed, go_on, end;
	char *block[MANY];
	char *page;   /* in one of them */
	bool is_held; /* in the last free, when all is over but the thread has not said so */
	bool is_last;
};

static MRN_TLS struct owner *held;

/* For mrn_check_freed_hook. */
static inline void hold(void)
{
	if (!held || !held->is_last)
		return;
	test_gate_open(&held->freed);
	test_gate_wait(&held->go_on);
	held = NULL;
}

static inline void own(void *arg)
{
	struct owner *o = arg;

	for (int i = 0; i < MANY; i++) {
		o->block[i] = malloc(BLOCK);
		CHECK(o->block[i]);
		memset(o->block[i], 'A', BLOCK);
	}
	o->page = (char *)mrn_page_up((uintptr_t)o->block[MANY / 2]);
	test_gate_open(&o->ready);
	test_gate_wait(&o->free_now);
	held = o->is_held ? o : NULL;
	/* The last one joins all others with the top, which is then trimmed. */
	for (int i = 0; i < MANY; i++) {
		o->is_last = i == MANY - 1;
		free(o->block[i]);
	}
	if (!o->is_held)
		test_gate_open(&o->freed);
	test_gate_wait(&o->end);
}

static inline void start_owner(struct owner *o)
{
	test_thread(&o->thread, own, o);
	test_gate_wait(&o->ready);
}

static inline void end_owner(struct owner *o)
{
	test_gate_open(&o->end);
	test_join(&o->thread);
}

#endif
