/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inserting: down the tree to the leaf; there, one slot. A full leaf is split into two, under a new copy of its parent,
 * and so on upwards as far as necessary.
 */
#include <errno.h>

#include "index/write.h"

/* Sorts the entries of a full leaf and one more. Returns the position of the latter. */
static unsigned int sort(const struct mrn_leaf *leaf, struct mrn_index_entry *e,
			 struct mrn_index_entry **list)
{
	unsigned int at = 0;

	/* Each is a cache miss, and its place will be written anyway. */
	for (unsigned int i = 0; i < SLOTS; i++)
		__builtin_prefetch(&leaf->entry[i]->start, 1);
	for (unsigned int i = 0; i <= SLOTS; i++) {
		struct mrn_index_entry *x = i < SLOTS ? leaf->entry[i] : e;

		for (at = i; at && mrn_entry_precedes(x, list[at - 1]); at--)
			list[at] = list[at - 1];
		list[at] = x;
	}
	return at;
}

/* Copies a leaf into larger units, for an entry that is too far for it. Rare, and leaves are small then. */
static void rescale(struct mrn_index *ix, struct mrn_index_way *way, uintptr_t start)
{
	struct mrn_leaf *old = mrn_leaf(way->node[0]);
	struct mrn_leaf *leaf =
		mrn_leaf_new(ix, mrn_leaf_first_start(old, start), mrn_leaf_last_start(old, start));
	struct mrn_index_child new;

	for (unsigned int i = 0; i < SLOTS; i++)
		if (old->entry[i])
			mrn_leaf_put(leaf, old->entry[i]);
	mrn_leaf_moved(ix, leaf);
	new = (struct mrn_index_child){.max = leaf->node.max, .node = &leaf->node};
	mrn_index_replace(ix, way, 0, 1, &new, 1);
	mrn_pool_retire(ix, &old->node);
	way->node[0] = &leaf->node;
}

/* Inserting in ascending or descending order leaves full leaves behind: the full one stays as it is. */
static void add_leaf(struct mrn_index *ix, const struct mrn_index_way *way,
		     struct mrn_index_entry *e, const struct mrn_index_entry *second, bool last)
{
	struct mrn_leaf *old = mrn_leaf(way->node[0]), *leaf = mrn_leaf_new(ix, e->start, e->start);
	struct mrn_index_child new[2] = {0};

	mrn_leaf_put(leaf, e);
	new[!last].max = old->node.max;
	new[!last].node = &old->node;
	new[last].max = leaf->node.max;
	new[last].node = &leaf->node;
	new[1].key = mrn_bias(second->start);
	new[1].id = second->id;
	mrn_index_replace(ix, way, 0, 1, new, 2);
}

static void split(struct mrn_index *ix, const struct mrn_index_way *way, struct mrn_index_entry *e)
{
	struct mrn_index_entry *list[SLOTS + 1];
	struct mrn_leaf *old = mrn_leaf(way->node[0]), *half[2];
	unsigned int at = sort(old, e, list), left = SLOTS / 2;
	struct mrn_index_child new[2];

	if (at == SLOTS || !at) {
		add_leaf(ix, way, e, list[at ? SLOTS : 1], at);
		return;
	}
	for (unsigned int i = 0; i <= SLOTS && ix->filter.table->hint; i++)
		mrn_hint_prefetch(ix->filter.table, list[i]);
	half[0] = mrn_leaf_new(ix, list[0]->start, list[left - 1]->start);
	half[1] = mrn_leaf_new(ix, list[left]->start, list[SLOTS]->start);
	for (unsigned int i = 0; i <= SLOTS; i++)
		mrn_leaf_put(half[i >= left], list[i]);
	mrn_leaf_moved(ix, half[0]);
	mrn_leaf_moved(ix, half[1]);
	new[0] = (struct mrn_index_child){.max = half[0]->node.max, .node = &half[0]->node};
	new[1] = (struct mrn_index_child){mrn_bias(list[left]->start), half[1]->node.max,
					  list[left]->id, &half[1]->node};
	mrn_index_replace(ix, way, 0, 1, new, 2);
	mrn_pool_retire(ix, &old->node);
}

static void fill_table(struct mrn_filter_table *t, struct mrn_index_node *node)
{
	if (!node->level) {
		if (node->shift || t->hint)
			for (unsigned int i = 0; i < SLOTS; i++)
				__builtin_prefetch(mrn_leaf(node)->entry[i]);
		for (uint32_t used = node->used; used; used &= used - 1) {
			unsigned int i = (unsigned int)__builtin_ctz(used);

			mrn_filter_table_add(t, mrn_leaf_pages_at(mrn_leaf(node), i),
					     node->alone >> i & 1);
			if (t->hint)
				mrn_hint_add(t, mrn_leaf(node)->entry[i]);
		}
		return;
	}
	for (unsigned int i = 0; i < node->n; i++)
		fill_table(t, mrn_inner(node)->child[i]);
}

/* False if there is no table at all. */
static bool make_filter(struct mrn_index *ix)
{
	struct mrn_filter_table *t;

	if (!mrn_filter_is_full(&ix->filter))
		return true;
	t = mrn_filter_larger(&ix->filter);
	if (!t)
		return ix->filter.table;
	if (ix->root)
		fill_table(t, ix->root);
	mrn_filter_replace(&ix->filter, t);
	return true;
}

static void raise(struct mrn_index *ix, const struct mrn_index_way *way, int64_t to)
{
	for (unsigned int l = ix->height; l; l--) {
		struct mrn_inner *in = mrn_inner(way->node[l]);
		unsigned int i = way->at[l - 1];

		/* high is in a loaded line, max may be a cache miss. */
		if (in->high[i] <= mrn_high_of(&in->node, to) && in->max[i] < to)
			mrn_index_set_max(in, i, to);
	}
}

static bool is_near(struct mrn_pages a, struct mrn_pages b)
{
	return a.first <= b.last + MRN_FILTER_NEAR && b.first <= a.last + MRN_FILTER_NEAR;
}

/*
 * True if its leaf has no entry near p. Exact, since an entry that is not alone makes each look-up read another filter
 * line.
 */
static bool is_alone(const struct mrn_leaf *leaf, struct mrn_pages p)
{
	uint64_t from = p.first < MRN_FILTER_NEAR ? 0 : p.first - MRN_FILTER_NEAR;
	uint32_t mask = mrn_vector_within(leaf->first, leaf->last, mrn_near(&leaf->node, from),
					  mrn_near(&leaf->node, p.last + MRN_FILTER_NEAR));

	for (; mask; mask &= mask - 1)
		if (is_near(mrn_leaf_pages_at(leaf, (unsigned int)__builtin_ctz(mask)), p))
			return false;
	return true;
}

/* Creates the first leaf, without entries. */
static bool make_root(struct mrn_index *ix, uintptr_t start, struct mrn_index_way *way)
{
	if (!mrn_index_reserve(ix))
		return false;
	way->node[0] = &mrn_leaf_new(ix, start, start)->node;
	mrn_index_set_root(ix, &(struct mrn_index_child){.node = way->node[0]}, 1);
	return true;
}

static bool is_far(const struct mrn_leaf *leaf, uint64_t page)
{
	int16_t near = mrn_near(&leaf->node, page);

	return near == MRN_FAR || near == -MRN_FAR;
}

int mrn_index_insert_at(struct mrn_index *ix, struct mrn_index_entry *e, struct mrn_index_way *way)
{
	struct mrn_pages p = mrn_pages_of(e->start, e->end);
	struct mrn_leaf *leaf;
	bool alone, rescales;

	if (!make_filter(ix) || (!ix->root && !make_root(ix, e->start, way)))
		return -ENOMEM;
	leaf = mrn_leaf(way->node[0]);
	rescales = leaf->node.n < SLOTS && is_far(leaf, p.first);
	if ((leaf->node.n == SLOTS || rescales) && !mrn_index_reserve(ix))
		return -ENOMEM;
	if (rescales)
		rescale(ix, way, e->start);
	leaf = mrn_leaf(way->node[0]);
	alone = is_alone(leaf, p);
	e->place = alone ? MRN_PLACE_ALONE : 0;
	mrn_filter_add(&ix->filter, p, alone);
	raise(ix, way, mrn_leaf_max_with(leaf, e));
	if (leaf->node.n < SLOTS)
		mrn_leaf_put(leaf, e);
	else
		split(ix, way, e);
	mrn_hint_add(ix->filter.table, e);
	__atomic_store_n(&ix->filter.entries, ix->filter.entries + 1, __ATOMIC_RELAXED);
	return 0;
}

int mrn_index_insert(struct mrn_index *ix, struct mrn_index_entry *e)
{
	struct mrn_index_way way;

	mrn_index_find(ix, e->start, e->id, &way);
	return mrn_index_insert_at(ix, e, &way);
}
