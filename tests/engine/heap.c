/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/engine/heap.h"

#include <pthread.h>
#include <stdlib.h>

#include "tests/harness/test.h"

/*
 * A sanitizer's free unmaps by bare calls, which nobody brackets: another thread's malloc may be given the address before
 * the event has been read (<mrn/source.h>, before_return). So there they do it one after the other.
 */
static pthread_mutex_t not_bracketed = PTHREAD_MUTEX_INITIALIZER;

static void lock_malloc(void)
{
	if (test_is_sanitized())
		pthread_mutex_lock(&not_bracketed);
}

static void unlock_malloc(void)
{
	if (test_is_sanitized())
		pthread_mutex_unlock(&not_bracketed);
}

char *heap_resized(char *old, size_t length)
{
	char *p;

	lock_malloc();
	p = realloc(old, length);
	unlock_malloc();
	CHECK(p);
	return p;
}

char *heap_allocated(size_t length)
{
	return heap_resized(NULL, length);
}

void heap_give_back(char *p)
{
	lock_malloc();
	free(p);
	unlock_malloc();
}
