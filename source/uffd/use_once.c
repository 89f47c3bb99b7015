/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/uffd/use_once.h"

#include "os/event_path.h"

/* Joins range[i] and range[i + 1]. */
static void join(struct mrn_use_once *s, unsigned int i)
{
	if (s->range[i].end < s->range[i + 1].end)
		s->range[i].end = s->range[i + 1].end;
	for (s->n--, i++; i < s->n; i++)
		s->range[i] = s->range[i + 1];
}

static unsigned int smallest_gap(const struct mrn_use_once *s)
{
	unsigned int best = 0;

	for (unsigned int i = 1; i + 1 < s->n; i++)
		if (s->range[i + 1].start - s->range[i].end <
		    s->range[best + 1].start - s->range[best].end)
			best = i;
	return best;
}

void mrn_use_once_add(struct mrn_use_once *s, uintptr_t start, uintptr_t end)
{
	unsigned int i;

	mrn_mutex_lock(&s->lock);
	for (i = s->n; i > 0 && s->range[i - 1].start > start; i--)
		s->range[i] = s->range[i - 1];
	s->range[i].start = start;
	s->range[i].end = end;
	s->n++;
	if (i > 0 && s->range[i - 1].end >= start)
		join(s, --i);
	while (i + 1 < s->n && s->range[i + 1].start <= s->range[i].end)
		join(s, i);
	if (s->n > MRN_USE_ONCE_MAX)
		join(s, smallest_gap(s));
	mrn_mutex_unlock(&s->lock);
}

void mrn_use_once_clear(struct mrn_use_once *s)
{
	mrn_mutex_lock(&s->lock);
	s->n = 0;
	mrn_mutex_unlock(&s->lock);
}

bool mrn_use_once_overlaps(struct mrn_use_once *s, uintptr_t start, uintptr_t end)
{
	bool found = false;

	mrn_mutex_lock(&s->lock);
	for (unsigned int i = 0; i < s->n && !found; i++)
		found = s->range[i].start < end && s->range[i].end > start;
	mrn_mutex_unlock(&s->lock);
	return found;
}
