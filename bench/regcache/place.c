/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/regcache/place.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/random.h"

#define PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)

void place_touch(char *at, size_t length)
{
	size_t page = (size_t)getpagesize();

	for (size_t i = 0; i < length; i += page)
		((volatile char *)at)[i] = 1;
}

bool place_map(const struct place *p, size_t i)
{
	char *at = place_buffer(p, i);

	if (mmap(at, p->length, PROT_READ | PROT_WRITE, PRIVATE | MAP_FIXED, -1, 0) != at)
		return false;
	/* Huge pages, some sides would get by chance. */
	madvise(at, p->length, MADV_NOHUGEPAGE);
	place_touch(at, p->length);
	return true;
}

static void shuffle(uint16_t *order, size_t n, uint64_t *seed)
{
	for (size_t i = n - 1; i > 0; i--) {
		size_t j = mrn_random_below(seed, i + 1);
		uint16_t swap = order[i];

		order[i] = order[j];
		order[j] = swap;
	}
}

/* All buffers of its cache equally often, each thread in an order of its own. */
static void draw_orders(struct place *p, const struct work *w, uint32_t buffers, size_t length)
{
	for (size_t t = 0; t < w->threads; t++) {
		size_t first = w->caches > 1 ? t * buffers : 0;
		uint64_t seed = t;

		for (size_t i = 0; i < length; i++)
			p->order[t][i] = (uint16_t)(first + i % buffers);
		shuffle(p->order[t], length, &seed);
	}
}

static uint32_t count_buffers(const struct work *w)
{
	if (w->kind == WORK_HIT)
		return w->buffers;
	/* Twice as many as the caches hold; or one more, which is used only after the others have been unmapped. */
	return w->kind == WORK_MISS ? w->caches * 2 * w->buffers : w->buffers + 1;
}

/* One mapping from the beginning to the end: no call may split it. */
static int map_arena(const struct place *p)
{
	size_t size = p->buffers * p->stride;

	if (mprotect(p->memory, size, PROT_READ | PROT_WRITE))
		return -errno;
	madvise(p->memory, size, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < p->buffers; i++)
		place_touch(place_buffer(p, i), p->length);
	return 0;
}

static int map_all(const struct place *p)
{
	for (size_t i = 0; i < p->buffers; i++)
		if (!place_map(p, i))
			return -errno;
	return 0;
}

int place_open(struct place *p, const struct work *w)
{
	int err;

	p->buffers = count_buffers(w);
	p->length = w->length;
	p->stride = 2 * w->length;
	if (p->buffers > PLACE_ORDER || w->threads > WORK_MAX_THREADS)
		return -EINVAL;
	p->reserved_size = (p->buffers + 1) * p->stride;
	p->reserved = mmap(NULL, p->reserved_size, PROT_NONE, PRIVATE | MAP_NORESERVE, -1, 0);
	if (p->reserved == MAP_FAILED)
		return -errno;
	p->memory = (char *)(((uintptr_t)p->reserved + p->stride - 1) & ~(p->stride - 1));
	err = w->arena ? map_arena(p) : map_all(p);
	if (w->kind == WORK_HIT)
		draw_orders(p, w, w->buffers, PLACE_ORDER);
	else if (w->kind == WORK_MISS)
		draw_orders(p, w, 2 * w->buffers, 2 * w->buffers);
	else
		draw_orders(p, w, w->buffers, w->buffers);
	return err;
}

void place_close(struct place *p)
{
	if (p->memory)
		munmap(p->reserved, p->reserved_size);
	p->memory = NULL;
}
