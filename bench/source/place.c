/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/source/place.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

/*
 * A page table's worth of addresses: one of the others at its beginning, which keeps the table, and the gap in the
 * middle.
 */
#define STRIDE	((size_t)2 << 20)
#define GAP	(STRIDE / 8)
#define GAP_END (STRIDE - STRIDE / 8)
#define MAX_NR	256

#define FILLERS 1000
#define NOTHING (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

static struct {
	char *base;
	size_t nr, turn;
	char *gap; /* the open gap; or NULL */
	bool taken[MAX_NR];
} place;

char *place_other(size_t i)
{
	return place.base + i * STRIDE;
}

int place_make(size_t nr)
{
	char *p = mmap(NULL, (nr + 1) * STRIDE, PROT_NONE, NOTHING, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	if (nr > MAX_NR)
		return -EINVAL;
	place.base = (char *)(((uintptr_t)p + STRIDE - 1) & ~(STRIDE - 1));
	place.nr = nr;
	for (size_t i = 0; i < nr; i++)
		if (mprotect(place_other(i), PLACE_OTHER, PROT_READ | PROT_WRITE))
			return -errno;
	return 0;
}

/* The kernel takes the highest gap that is large enough: so no free one may be above ours. */
static void fill_gaps_above(void)
{
	unsigned int left = FILLERS;

	for (size_t size = place.nr * STRIDE; size >= 4096; size /= 2)
		while (left--) {
			char *p = mmap(NULL, size, PROT_NONE, NOTHING, -1, 0);

			if (p == MAP_FAILED)
				break;
			if (p < place.base) {
				munmap(p, size);
				break;
			}
		}
}

void place_open(void)
{
	fill_gaps_above();
	/* Far from the last one, so that a few turns see most neighbourhoods. */
	for (size_t i = 0; i < place.nr && !place.gap; i++) {
		size_t n = place.turn++ * 37 % place.nr;

		if (!place.taken[n])
			place.gap = place_other(n) + GAP;
	}
	if (place.gap)
		munmap(place.gap, GAP_END - GAP);
}

void place_close(void)
{
	if (!place.gap)
		return;
	/* Fails if something else was mapped there and stays: then the gap is lost. */
	if (mmap(place.gap, GAP_END - GAP, PROT_NONE, NOTHING | MAP_FIXED_NOREPLACE, -1, 0) !=
	    place.gap)
		place.taken[(size_t)(place.gap - place.base) / STRIDE] = true;
	place.gap = NULL;
}
