/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/bracket/spans.h"

#include "os/event_path.h"

/* Joins set[i] and set[i + 1]; returns how many are left. */
static unsigned int join(struct mrn_span *set, unsigned int n, unsigned int i)
{
	if (set[i].end < set[i + 1].end)
		set[i].end = set[i + 1].end;
	for (i++; i + 1 < n; i++)
		set[i] = set[i + 1];
	return n - 1;
}

static unsigned int smallest_gap(const struct mrn_span *set, unsigned int n)
{
	unsigned int best = 0;

	for (unsigned int i = 1; i + 1 < n; i++)
		if (set[i + 1].start - set[i].end < set[best + 1].start - set[best].end)
			best = i;
	return best;
}

unsigned int mrn_spans_add(struct mrn_span *set, unsigned int n, unsigned int max, uintptr_t start,
			   uintptr_t end)
{
	unsigned int i;

	for (i = n; i > 0 && set[i - 1].start > start; i--)
		set[i] = set[i - 1];
	set[i].start = start;
	set[i].end = end;
	n++;
	if (i > 0 && set[i - 1].end >= start)
		n = join(set, n, --i);
	while (i + 1 < n && set[i + 1].start <= set[i].end)
		n = join(set, n, i);
	return n > max ? join(set, n, smallest_gap(set, n)) : n;
}

bool mrn_spans_hold(const struct mrn_span *set, unsigned int n, uintptr_t start, uintptr_t end)
{
	for (unsigned int i = 0; i < n; i++)
		if (set[i].start <= start && set[i].end >= end)
			return true;
	return false;
}
