/* SPDX-License-Identifier: BSD-3-Clause */
/* A thread's stack, which libc takes back when the thread has ended. */
#include "coverage/cause/way.h"

#include <unistd.h>

/* More than glibc caches for the next thread, which is 40 MiB: so joining unmaps it. */
#define STACK ((size_t)64 << 20)

static void *wait_to_leave(void *place)
{
	pthread_barrier_wait(&((struct cause_place *)place)->leave);
	return NULL;
}

static int stack_of(pthread_t thread, char **lowest, size_t *size)
{
	pthread_attr_t attr;
	void *addr;
	int err = pthread_getattr_np(thread, &attr);

	if (err)
		return -err;
	err = pthread_attr_getstack(&attr, &addr, size);
	pthread_attr_destroy(&attr);
	*lowest = addr;
	return -err;
}

static int prepare_stack(struct cause_place *p)
{
	pthread_attr_t attr;
	size_t size;
	int r;

	pthread_barrier_init(&p->leave, NULL, 2);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	r = -pthread_create(&p->thread, &attr, wait_to_leave, p);
	pthread_attr_destroy(&attr);
	if (r)
		return r;
	p->has_thread = true;
	r = stack_of(p->thread, &p->addr, &size);
	/* Half-way down, where the thread has never been. */
	p->addr += size / 2 & -(size_t)getpagesize();
	return r;
}

static void join(struct cause_place *p)
{
	pthread_barrier_wait(&p->leave);
	pthread_join(p->thread, NULL);
	p->has_thread = false;
}

/* glibc discards the stack's pages, in the thread, and unmaps them here. */
static int change_thread_stack(struct cause_place *p)
{
	join(p);
	if (!cause_is_mapped(p->addr))
		cause_gone(p, p->addr, p->length);
	return p->hole_length ? 0 : cause_lacks(p, "this C library keeps large stacks");
}

static void drop_stack(struct cause_place *p)
{
	if (p->has_thread)
		join(p);
	pthread_barrier_destroy(&p->leave);
}

const struct cause_way cause_thread_stack = {.prepare = prepare_stack,
					     .change = change_thread_stack,
					     .drop = drop_stack};
