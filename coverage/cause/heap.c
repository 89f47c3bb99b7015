/* SPDX-License-Identifier: BSD-3-Clause */
/* The break, and what malloc does inside libc. */
#include "coverage/cause/way.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "os/syscall.h"

static char *page_up(const char *addr)
{
	const uintptr_t page = (uintptr_t)getpagesize();

	return (char *)(((uintptr_t)addr + page - 1) & ~(page - 1));
}

/* ------------------------------------------------------------------------------------------ the break */

/*
 * malloc uses the break too. So only memory that was taken here is given back, and only while it is the last; and
 * malloc is left with enough to ask for no more meanwhile. If it does ask, it finds the addresses taken by the refill
 * and goes elsewhere.
 */
#define MALLOCS_ROOM (96 << 10)

static int prepare_break(struct cause_place *p)
{
	const size_t page = (size_t)getpagesize();
	void *room = malloc(MALLOCS_ROOM);
	char *at;

	free(room);
	at = sbrk((intptr_t)(p->length + page));
	if (at == (char *)-1)
		return cause_lacks(p, "the break cannot be moved here");
	p->block = at;
	p->addr = page_up(at);
	/* Whatever exceeds whole pages goes back at once. */
	return brk(p->addr + p->length) ? -errno : 0;
}

/* True if the break is where this place ends, to the kernel and to libc. */
static bool is_last(const struct cause_place *p)
{
	const char *end = p->addr + p->length;

	return (char *)sbrk(0) == end && (char *)mrn_sys1(SYS_brk, 0) == end;
}

static int after_break(struct cause_place *p, int r)
{
	if (!r)
		cause_gone(p, p->addr, p->length);
	return r;
}

static int change_brk(struct cause_place *p)
{
	if (!is_last(p))
		return -EAGAIN;
	if (p->cause->raw) {
		const bool moved = (char *)mrn_sys1(SYS_brk, (long)p->addr) == p->addr;

		return after_break(p, moved ? 0 : -ENOMEM);
	}
	return after_break(p, brk(p->addr) ? -errno : 0);
}

static int change_sbrk(struct cause_place *p)
{
	if (!is_last(p))
		return -EAGAIN;
	return after_break(p, sbrk(-(intptr_t)p->length) == (void *)-1 ? -errno : 0);
}

static void drop_break(struct cause_place *p)
{
	const bool gone = p->hole_length;
	/* After a raw call the two disagree. */
	const char *kernels = gone ? p->addr : p->addr + p->length;
	const char *libcs = gone && !p->cause->raw ? p->addr : p->addr + p->length;

	if (!p->block)
		return;
	if (p->filled)
		mrn_sys2(SYS_munmap, (long)p->hole, (long)p->hole_length);
	p->filled = false;
	if ((char *)mrn_sys1(SYS_brk, 0) == kernels && (char *)sbrk(0) == libcs)
		(void)!brk(p->block);
}

const struct cause_way cause_brk = {.prepare = prepare_break,
				    .change = change_brk,
				    .drop = drop_break};
const struct cause_way cause_sbrk = {.prepare = prepare_break,
				     .change = change_sbrk,
				     .drop = drop_break};

/* ------------------------------------------------------------------------------------- large blocks */

/* More than malloc's moving threshold ever is: such a block has a mapping of its own. */
#define LARGE ((size_t)40 << 20)

/* Puts a page behind the mapping, so that it cannot grow in place. An existing page serves as well. */
static int put_guard(struct cause_place *p)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	char *end = page_up(p->block + LARGE);
	const long at = mrn_sys6(SYS_mmap, (long)end, getpagesize(), PROT_NONE, flags, -1, 0);

	if (mrn_sys_failed(at))
		return (int)at;
	p->guard = (char *)at;
	return 0;
}

static int prepare_large(struct cause_place *p)
{
	p->block = malloc(LARGE);
	if (!p->block)
		return -ENOMEM;
	/* In the middle: the block's header does not change. */
	p->addr = page_up(p->block + LARGE / 2);
	return put_guard(p);
}

static int check_gone(struct cause_place *p)
{
	if (cause_is_mapped(p->addr))
		return cause_lacks(p, "this allocator does not unmap large blocks");
	cause_gone(p, p->addr, p->length);
	return 0;
}

static int change_free(struct cause_place *p)
{
	free(p->block);
	p->block = NULL;
	return check_gone(p);
}

static int change_realloc(struct cause_place *p)
{
	char *to = realloc(p->block, 2 * LARGE);

	if (!to)
		return -ENOMEM;
	p->block = to;
	return check_gone(p);
}

static void drop_large(struct cause_place *p)
{
	free(p->block);
	p->block = NULL;
	if (p->guard)
		mrn_sys2(SYS_munmap, (long)p->guard, getpagesize());
}

const struct cause_way cause_free = {.prepare = prepare_large,
				     .change = change_free,
				     .drop = drop_large};
const struct cause_way cause_realloc = {.prepare = prepare_large,
					.change = change_realloc,
					.drop = drop_large};

/* ----------------------------------------------------------------------------------------- trimming */

/* Less than malloc gives a mapping of its own. */
#define TRIMMED (120 << 10)

/*
 * A block of the heap, with another behind it so that it is not the heap's last. After free, malloc must give the same
 * block again: only owned memory may be refilled.
 */
static int prepare_trim(struct cause_place *p)
{
	char *before;

	p->block = malloc(TRIMMED);
	p->fence = malloc(64);
	if (!p->block || !p->fence)
		return -ENOMEM;
	before = p->block;
	free(p->block);
	p->block = malloc(TRIMMED);
	if (p->block != before)
		return cause_lacks(p, "this allocator does not give the same block again");
	/* Past the words that malloc writes into a free block. */
	p->addr = page_up(p->block + 64);
	if (p->addr + p->length + 64 > p->block + TRIMMED)
		return cause_lacks(p, "pages are too large here");
	return 0;
}

static int change_malloc_trim(struct cause_place *p)
{
#ifdef __GLIBC__
	char *before = p->block;
	unsigned char in_core = 1;

	free(p->block);
	malloc_trim(0);
	p->block = malloc(TRIMMED);
	if (p->block != before)
		return -EAGAIN;
	mrn_sys3(SYS_mincore, (long)p->addr, getpagesize(), (long)&in_core);
	return in_core & 1 ? cause_lacks(p, "malloc here is not the C library's own") : 0;
#else
	return cause_lacks(p, "this C library has no malloc_trim");
#endif
}

static void drop_trim(struct cause_place *p)
{
	free(p->block);
	free(p->fence);
}

const struct cause_way cause_malloc_trim = {.prepare = prepare_trim,
					    .change = change_malloc_trim,
					    .drop = drop_trim};
