/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/random.h"
#include "tools/mrn/demo/demo.h"
#include "tools/mrn/demo/memory.h"

/* From this size on malloc gives a block its own mapping, and free unmaps it. */
static size_t heap_threshold(size_t max_size)
{
	return max_size / 2 < 128 << 10 ? max_size / 2 : 128 << 10;
}

size_t memory_random_size(const struct memory *m, enum memory_kind kind, uint64_t *random)
{
	size_t min = kind == MEMORY_HEAP ? heap_threshold(m->max_size) : 1;

	return min + mrn_random_below(random, m->max_size - min + 1);
}

/*
 * During a run only the demo moves the program break, so malloc must leave it alone: it gives nothing back, and each
 * thread has an arena elsewhere, except this one, which only waits.
 */
static void keep_malloc_off_the_break(size_t max_size)
{
	mallopt(M_MMAP_THRESHOLD, (int)heap_threshold(max_size));
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_ARENA_MAX, 4 * DEMO_MAX_THREADS);
}

static char *map(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		demo_die("mmap", errno);
	return p;
}

static char *grow_break(const struct memory *m, size_t bytes)
{
	uintptr_t now = (uintptr_t)sbrk(0);
	char *p = sbrk((intptr_t)(memory_page_up(m, now) - now));

	if (p != (void *)-1)
		p = sbrk(0);
	if (p == (void *)-1 || sbrk((intptr_t)bytes) == (void *)-1)
		demo_die("sbrk", ENOMEM);
	return p;
}

/* Neighbours get equal shares, less a few bytes, so that no border is a page's. */
static void place_neighbour(const struct memory *m, struct demo_buffer *b, unsigned int place)
{
	b->addr = m->neighbourhood + place * m->max_size + 13 * (place + 1);
	b->size = m->max_size - 1;
}

static void make_buffer(struct memory *m, struct demo_buffer *b, unsigned int place,
			uint64_t *random)
{
	b->size = memory_random_size(m, b->kind, random);
	switch (b->kind) {
	case MEMORY_MAPPING:
		b->addr = map(memory_page_up(m, b->size));
		break;
	case MEMORY_HEAP:
		b->addr = malloc(b->size);
		if (!b->addr)
			demo_die("malloc", ENOMEM);
		break;
	case MEMORY_NEIGHBOUR:
		place_neighbour(m, b, place);
		break;
	case MEMORY_BREAK:
		b->addr = grow_break(m, memory_page_up(m, b->size));
		break;
	case MEMORY_NR_KINDS:
		break;
	}
	pattern_write(memory_pattern(b), 0, b->addr, b->size);
}

void memory_make(struct memory *m, unsigned int threads, size_t max_size, uint64_t *random)
{
	const unsigned int count[MEMORY_NR_KINDS] = {
		[MEMORY_MAPPING] = 2 * threads,
		[MEMORY_HEAP] = threads,
		[MEMORY_NEIGHBOUR] = 2 * threads,
		[MEMORY_BREAK] = 1,
	};
	pthread_rwlockattr_t attr;
	unsigned int made = 0;

	*m = (struct memory){.max_size = max_size, .page = (size_t)sysconf(_SC_PAGESIZE)};
	keep_malloc_off_the_break(max_size);
	for (int kind = 0; kind < MEMORY_NR_KINDS; kind++)
		m->nr += count[kind];
	m->buffers = calloc(m->nr, sizeof(*m->buffers));
	if (!m->buffers)
		demo_die("calloc", ENOMEM);
	m->neighbourhood_bytes = memory_page_up(m, count[MEMORY_NEIGHBOUR] * (max_size + m->page));
	m->neighbourhood = map(m->neighbourhood_bytes);

	/* Otherwise the transfers would keep the changes out for ever. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	for (int kind = 0; kind < MEMORY_NR_KINDS; kind++) {
		for (unsigned int i = 0; i < count[kind]; i++, made++) {
			struct demo_buffer *b = &m->buffers[made];

			b->kind = (enum memory_kind)kind;
			b->id = (uint16_t)(made + 1);
			pthread_rwlock_init(&b->lock, &attr);
			make_buffer(m, b, i, random);
		}
	}
	pthread_rwlockattr_destroy(&attr);
}

static void free_buffer(struct memory *m, struct demo_buffer *b)
{
	switch (b->kind) {
	case MEMORY_MAPPING:
		munmap(b->addr, memory_page_up(m, b->size));
		break;
	case MEMORY_HEAP:
		free(b->addr);
		break;
	case MEMORY_BREAK:
		if ((char *)sbrk(0) == b->addr + memory_page_up(m, b->size))
			sbrk(-(intptr_t)memory_page_up(m, b->size));
		break;
	case MEMORY_NEIGHBOUR:
	case MEMORY_NR_KINDS:
		break;
	}
	pthread_rwlock_destroy(&b->lock);
}

void memory_free(struct memory *m)
{
	for (unsigned int i = 0; i < m->nr; i++)
		free_buffer(m, &m->buffers[i]);
	munmap(m->neighbourhood, m->neighbourhood_bytes);
	free(m->buffers);
}
