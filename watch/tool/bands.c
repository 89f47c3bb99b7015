/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>

#include "watch/tool/bands.h"

static int by_start(const void *x, const void *y)
{
	const struct band *a = x, *b = y;

	return a->start < b->start ? -1 : a->start > b->start;
}

/* Merges sorted ranges that are less than a gap apart. Returns how many are left. */
static size_t join(struct band *r, size_t n, uint64_t gap)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		if (kept &&
		    (r[i].start <= r[kept - 1].stop || r[i].start - r[kept - 1].stop <= gap))
			r[kept - 1].stop = r[i].stop > r[kept - 1].stop ? r[i].stop
									: r[kept - 1].stop;
		else
			r[kept++] = r[i];
	}
	return kept;
}

int bands_find(struct bands *b, const struct event *event, size_t n)
{
	struct band *r = calloc(n + 1, sizeof(*r));
	uint64_t gap = UINT64_C(1) << 20;
	size_t nr = 0;

	*b = (struct bands){0};
	if (!r)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (tally_bytes(event[i].start, event[i].stop))
			r[nr++] = (struct band){event[i].start, event[i].stop};
		else
			b->everything = true;
	}
	qsort(r, nr, sizeof(*r), by_start);
	for (nr = join(r, nr, gap); nr > BANDS_MAX; nr = join(r, nr, gap))
		gap *= 2;
	for (; b->nr < nr; b->nr++)
		b->band[b->nr] = r[b->nr];
	b->nr += b->everything;
	free(r);
	return 0;
}

unsigned int bands_of(const struct bands *b, const struct event *e)
{
	unsigned int i = b->nr - b->everything;

	if (!tally_bytes(e->start, e->stop))
		return i;
	while (i > 1 && e->start < b->band[i - 1].start)
		i--;
	return i - 1;
}
