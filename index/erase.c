/* SPDX-License-Identifier: BSD-3-Clause */
/* Erasing: the entry knows its slot. Two leaves with few entries left are merged into one. */
#include "index/write.h"

/* Merges two neighbouring leaves. Either may be empty, if there was no memory to tidy it before. */
static void merge(struct mrn_index *ix, struct mrn_index_way *way)
{
	struct mrn_inner *in = mrn_inner(way->node[1]);
	struct mrn_leaf *leaf, *next, *both;
	struct mrn_index_child new;

	if (way->at[0] + 1 == in->node.n) {
		if (!way->at[0])
			return;
		way->at[0]--;
	}
	leaf = mrn_leaf(in->child[way->at[0]]);
	next = mrn_leaf(in->child[way->at[0] + 1]);
	if (leaf->node.n + next->node.n > SLOTS / 2)
		return;
	both = mrn_leaf_new(ix, mrn_leaf_first_start(next, mrn_leaf_first_start(leaf, UINTPTR_MAX)),
			    mrn_leaf_last_start(leaf, mrn_leaf_last_start(next, 0)));
	for (unsigned int i = 0; i < SLOTS; i++) {
		if (leaf->entry[i])
			mrn_leaf_put(both, leaf->entry[i]);
		if (next->entry[i])
			mrn_leaf_put(both, next->entry[i]);
	}
	mrn_leaf_moved(ix, both);
	new = (struct mrn_index_child){.max = both->node.max, .node = &both->node};
	mrn_index_replace(ix, way, 0, 2, &new, 1);
	mrn_pool_retire(ix, &leaf->node);
	mrn_pool_retire(ix, &next->node);
}

/* Without memory for the change, a leaf with few entries, or none, stays. */
static void tidy(struct mrn_index *ix, struct mrn_index_way *way)
{
	if (!mrn_index_reserve(ix))
		return;
	if (way->node[0]->n) {
		merge(ix, way);
	} else {
		mrn_index_replace(ix, way, 0, 1, NULL, 0);
		mrn_pool_retire(ix, way->node[0]);
	}
}

/* True if a leaf with n entries left should be tidied. Seldom, since reading its neighbour is a cache miss. */
static bool is_sparse(const struct mrn_index *ix, unsigned int n)
{
	return !n || (n <= SLOTS / 4 && !(n & (n - 1)) && ix->height);
}

void mrn_index_prefetch_erase(const struct mrn_index *ix, const struct mrn_index_entry *e)
{
	uintptr_t place = __atomic_load_n(&e->place, __ATOMIC_RELAXED);
	const struct mrn_leaf *leaf = mrn_place_leaf(place);
	unsigned int i = mrn_place_slot(place);

	__builtin_prefetch(&leaf->node, 1);
	__builtin_prefetch(&leaf->first[i], 1);
	__builtin_prefetch(&leaf->last[i], 1);
	__builtin_prefetch(&leaf->entry[i], 1);
	mrn_filter_prefetch(&ix->filter, e->start);
}

void mrn_index_erase(struct mrn_index *ix, struct mrn_index_entry *e)
{
	struct mrn_leaf *leaf = mrn_place_leaf(e->place);
	struct mrn_index_way way;
	bool lowers;

	mrn_leaf_clear(leaf, mrn_place_slot(e->place));
	/*
	 * Release: a reader that has seen this count does not find the entry; one that finds it has seen a lower count.
	 */
	__atomic_store_n(&ix->filter.erased, ix->filter.erased + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&ix->filter.entries, ix->filter.entries - 1, __ATOMIC_RELAXED);
	lowers = mrn_leaf_max_with(leaf, e) == leaf->node.max;
	if (lowers || is_sparse(ix, leaf->node.n)) {
		mrn_index_find(ix, e->start, e->id, &way);
		if (lowers) {
			leaf->node.max = mrn_leaf_greatest(leaf);
			mrn_index_adjust(ix, &way, 0);
		}
		if (is_sparse(ix, leaf->node.n))
			tidy(ix, &way);
	}
	mrn_filter_drop(&ix->filter, mrn_pages_of(e->start, e->end), e->place & MRN_PLACE_ALONE);
}
