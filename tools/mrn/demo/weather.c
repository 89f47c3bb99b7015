/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * No change fills its hole by force: between an munmap and the mmap after it another thread may get the address, and
 * then the buffer moves.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/random.h"
#include "tools/mrn/demo/demo.h"
#include "tools/mrn/demo/weather.h"

/* Whole pages. */
struct span {
	char *addr;
	size_t bytes;
};

/* Changes the pages of s; returns where they are afterwards. */
typedef char *change_fn(struct span s);

static char *map_at(char *addr, size_t bytes, int prot, int flags)
{
	char *p = mmap(addr, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (p == MAP_FAILED)
		demo_die("mmap", errno);
	return p;
}

static void unmap(char *addr, size_t bytes)
{
	if (munmap(addr, bytes))
		demo_die("munmap", errno);
}

static void move(char *from, size_t bytes, int flags, char *to)
{
	if (mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | flags, to) == MAP_FAILED)
		demo_die("mremap", errno);
}

/* ------------------------------------------------------------- changes that keep the range mapped */

static char *map_over(struct span s)
{
	return map_at(s.addr, s.bytes, PROT_READ | PROT_WRITE, MAP_FIXED);
}

static char *move_onto(struct span s)
{
	move(map_at(NULL, s.bytes, PROT_READ | PROT_WRITE, 0), s.bytes, 0, s.addr);
	return s.addr;
}

static char *advise_away(struct span s)
{
	if (madvise(s.addr, s.bytes, MADV_DONTNEED))
		demo_die("madvise", errno);
	return s.addr;
}

/* The pages move elsewhere; the mapping stays, empty. */
static char *move_out(struct span s)
{
	char *away = map_at(NULL, s.bytes, PROT_NONE, 0);

	move(s.addr, s.bytes, MREMAP_DONTUNMAP, away);
	unmap(away, s.bytes);
	return s.addr;
}

/* ------------------------------------------------------------------ changes that leave it a moment */

static char *unmap_and_map(struct span s)
{
	unmap(s.addr, s.bytes);
	return map_at(s.addr, s.bytes, PROT_READ | PROT_WRITE, 0);
}

static char *move_away_and_map(struct span s)
{
	char *away = map_at(NULL, s.bytes, PROT_NONE, 0);

	move(s.addr, s.bytes, 0, away);
	s.addr = map_at(s.addr, s.bytes, PROT_READ | PROT_WRITE, 0);
	unmap(away, s.bytes);
	return s.addr;
}

/* ----------------------------------------------------------------------------------- by kind */

#define NR_STAYING 4
static change_fn *const changes[] = {
	map_over, move_onto, advise_away, move_out, unmap_and_map, move_away_and_map,
};
#define NR_CHANGES (sizeof(changes) / sizeof(changes[0]))

/* Sometimes a buffer gets another size, too. */
static bool resizes(uint64_t *random)
{
	return mrn_random_below(random, 16) == 0;
}

static void change_mapping(const struct memory *m, struct demo_buffer *b, uint64_t *random)
{
	struct span s = {b->addr, memory_page_up(m, b->size)};

	if (resizes(random)) {
		unmap(s.addr, s.bytes);
		b->size = memory_random_size(m, b->kind, random);
		b->addr = map_at(s.addr, memory_page_up(m, b->size), PROT_READ | PROT_WRITE, 0);
		return;
	}
	b->addr = changes[mrn_random_below(random, NR_CHANGES)](s);
}

/* Changes the whole pages inside; those at its ends hold bytes of its neighbours. */
static void change_neighbour(const struct memory *m, struct demo_buffer *b, uint64_t *random)
{
	uintptr_t start = memory_page_up(m, (uintptr_t)b->addr);
	uintptr_t end = ((uintptr_t)b->addr + b->size) & ~(m->page - 1);

	changes[mrn_random_below(random, NR_STAYING)]((struct span){(char *)start, end - start});
}

static void change_heap(const struct memory *m, struct demo_buffer *b, uint64_t *random)
{
	free(b->addr);
	if (resizes(random))
		b->size = memory_random_size(m, b->kind, random);
	b->addr = malloc(b->size);
	if (!b->addr)
		demo_die("malloc", ENOMEM);
}

static void change_break(const struct memory *m, struct demo_buffer *b, uint64_t *random)
{
	size_t bytes = memory_page_up(m, b->size);

	/* Other code has grown the break since: what lies behind the buffer is not ours to cut off. */
	if (sbrk(0) != b->addr + bytes) {
		advise_away((struct span){b->addr, bytes});
		return;
	}
	if (sbrk(-(intptr_t)bytes) == (void *)-1)
		demo_die("sbrk", errno);
	if (resizes(random))
		b->size = memory_random_size(m, b->kind, random);
	b->addr = sbrk((intptr_t)memory_page_up(m, b->size));
	if (b->addr == (void *)-1)
		demo_die("sbrk", errno);
}

void weather_change(const struct memory *m, struct demo_buffer *b, uint64_t *random)
{
	switch (b->kind) {
	case MEMORY_MAPPING:
		change_mapping(m, b, random);
		break;
	case MEMORY_HEAP:
		change_heap(m, b, random);
		break;
	case MEMORY_NEIGHBOUR:
		change_neighbour(m, b, random);
		break;
	case MEMORY_BREAK:
		change_break(m, b, random);
		break;
	case MEMORY_NR_KINDS:
		break;
	}
	b->generation++;
	pattern_write(memory_pattern(b), 0, b->addr, b->size);
}
