/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/index/model.h"

#include <stdlib.h>
#include <string.h>

static bool precedes(const struct mrn_index_entry *a, uintptr_t start, uint64_t id)
{
	return a->start < start || (a->start == start && a->id < id);
}

void index_model_init(struct index_model *m, unsigned int n)
{
	memset(m, 0, sizeof(*m));
	m->n = n;
	m->entry = calloc(n, sizeof(*m->entry));
	m->in = calloc(n, sizeof(*m->in));
	m->list = calloc(n, sizeof(struct mrn_index_entry *));
	MODEL_CHECK(m->entry && m->in && m->list);
	MODEL_CHECK(mrn_index_is_valid(&m->index));
}

void index_model_destroy(struct index_model *m)
{
	mrn_index_destroy(&m->index);
	MODEL_CHECK(!mrn_index_bytes(&m->index));
	free(m->entry);
	free(m->in);
	free(m->list);
}

/* Nobody is reading but us, and a walk keeps no nodes between its steps. */
static void recycle(struct mrn_index *ix)
{
	struct mrn_index_retired r;

	mrn_index_take_retired(ix, &r);
	mrn_index_recycle(ix, &r);
}

int index_model_insert(struct index_model *m, unsigned int k, uintptr_t start, uintptr_t end)
{
	struct mrn_index_entry *e = &m->entry[k];
	int r;

	MODEL_CHECK(k < m->n && !m->in[k] && start < end);
	memset(e, 0xa5, sizeof(*e));
	e->start = start;
	e->end = end;
	e->id = ++m->id;
	r = mrn_index_insert(&m->index, e);
	m->in[k] = !r;
	m->entries += !r;
	recycle(&m->index);
	return r;
}

void index_model_erase(struct index_model *m, unsigned int k)
{
	MODEL_CHECK(k < m->n && m->in[k]);
	mrn_index_erase(&m->index, &m->entry[k]);
	memset(&m->entry[k], 0xa5, sizeof(m->entry[k]));
	m->in[k] = false;
	m->entries--;
	recycle(&m->index);
}

unsigned int index_model_find(const struct index_model *m, unsigned int k, bool in)
{
	k %= m->n;
	for (unsigned int i = 0; i < m->n && m->in[k] != in; i++)
		k = k + 1 < m->n ? k + 1 : 0;
	MODEL_CHECK(m->in[k] == in);
	return k;
}

void index_model_check(const struct index_model *m)
{
	MODEL_CHECK(mrn_index_is_valid(&m->index));
	MODEL_CHECK(m->index.filter.entries == m->entries);
	MODEL_CHECK(m->entries || !m->index.root);
}

static bool overlaps(const struct index_model *m, unsigned int k, uintptr_t start, uintptr_t end)
{
	return m->in[k] && m->entry[k].start < end && m->entry[k].end > start;
}

static int compare(const void *a, const void *b)
{
	const struct mrn_index_entry *x = *(struct mrn_index_entry *const *)a;
	const struct mrn_index_entry *y = *(struct mrn_index_entry *const *)b;

	return precedes(x, y->start, y->id) ? -1 : precedes(y, x->start, x->id);
}

void index_model_walk(struct index_model *m, uintptr_t start, uintptr_t end)
{
	struct mrn_index_walk w;
	unsigned int n = 0;

	for (unsigned int k = 0; k < m->n; k++)
		if (overlaps(m, k, start, end))
			m->list[n++] = &m->entry[k];
	qsort(m->list, n, sizeof(struct mrn_index_entry *), compare);
	MODEL_CHECK(!n || mrn_index_may_overlap(&m->index, start, end));
	mrn_index_walk_begin(&w, start, end);
	for (unsigned int i = 0; i < n; i++) {
		MODEL_CHECK(!mrn_index_walk_is_over(&w));
		MODEL_CHECK(mrn_index_walk_next(&m->index, &w) == m->list[i]);
	}
	MODEL_CHECK(!mrn_index_walk_next(&m->index, &w));
	MODEL_CHECK(mrn_index_walk_is_over(&w));
}

/* The next one in order after the cursor that overlaps. */
static struct mrn_index_entry *plain_next(struct index_model *m, uintptr_t start, uintptr_t end,
					  struct mrn_index_cursor c)
{
	struct mrn_index_entry *best = NULL;

	for (unsigned int k = 0; k < m->n; k++) {
		struct mrn_index_entry *e = &m->entry[k];

		if (!overlaps(m, k, start, end) || precedes(e, c.start, c.id) ||
		    (e->start == c.start && e->id == c.id))
			continue;
		if (!best || precedes(e, best->start, best->id))
			best = e;
	}
	return best;
}

void index_model_walk_changing(struct index_model *m, uintptr_t start, uintptr_t end,
			       void (*change)(void *arg), void *arg)
{
	struct mrn_index_cursor c = MRN_INDEX_FIRST;
	struct mrn_index_walk w;
	uint64_t walked = m->id;

	mrn_index_walk_begin(&w, start, end);
	for (;;) {
		struct mrn_index_entry *right = plain_next(m, start, end, c), *e;
		bool over = mrn_index_walk_is_over(&w);

		e = mrn_index_walk_next(&m->index, &w);
		/* What has come since the walk began, it may leave out. */
		while (e != right && right && right->id > walked)
			right = plain_next(m, start, end,
					   (struct mrn_index_cursor){right->start, right->id});
		MODEL_CHECK(e == right);
		MODEL_CHECK(!e || !over);
		if (!e)
			return;
		c = (struct mrn_index_cursor){e->start, e->id};
		change(arg);
	}
}
