/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/uffd/use_once.h"

#include "os/event_path.h"

void mrn_use_once_add(struct mrn_use_once *s, uintptr_t start, uintptr_t end)
{
	mrn_mutex_lock(&s->lock);
	s->n = mrn_spans_add(s->range, s->n, MRN_USE_ONCE_MAX, start, end);
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
