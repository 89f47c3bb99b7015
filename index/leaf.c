/* SPDX-License-Identifier: BSD-3-Clause */
/* The writer's side of a leaf: its slots and their summary of the entries. */
#include "index/write.h"

struct mrn_leaf *mrn_leaf_new(struct mrn_index *ix, uintptr_t first, uintptr_t last)
{
	struct mrn_leaf *leaf = mrn_leaf(mrn_pool_take(ix, 0));

	leaf->node.level = leaf->node.n = leaf->node.used = leaf->node.alone = 0;
	mrn_set_scale(&leaf->node, (uint64_t)first >> MRN_FILTER_PAGE,
		      (uint64_t)last >> MRN_FILTER_PAGE);
	leaf->node.max = MRN_KEY_MIN;
	for (unsigned int i = 0; i < SLOTS; i++) {
		leaf->first[i] = MRN_NOT_FIRST;
		leaf->last[i] = MRN_NOT_LAST;
		leaf->entry[i] = NULL;
	}
	return leaf;
}

int64_t mrn_leaf_greatest(const struct mrn_leaf *leaf)
{
	int16_t last = MRN_NOT_LAST;

	for (unsigned int i = 0; i < SLOTS; i++)
		last = leaf->last[i] > last ? leaf->last[i] : last;
	return mrn_max_of(&leaf->node, last);
}

int64_t mrn_leaf_max_with(const struct mrn_leaf *leaf, const struct mrn_index_entry *e)
{
	return mrn_max_of(&leaf->node, mrn_near(&leaf->node, mrn_pages_of(e->start, e->end).last));
}

void mrn_leaf_put(struct mrn_leaf *leaf, struct mrn_index_entry *e)
{
	unsigned int i = (unsigned int)__builtin_ctz(~leaf->node.used);
	struct mrn_pages p = mrn_pages_of(e->start, e->end);
	bool alone = e->place & MRN_PLACE_ALONE;
	int64_t max = mrn_leaf_max_with(leaf, e);

	/* Atomic: mrn_index_prefetch_erase reads it without a lock. */
	__atomic_store_n(&e->place, mrn_place(leaf, i, alone), __ATOMIC_RELAXED);
	/* Releases: a reader that has seen one state of a slot never sees an earlier one. */
	__atomic_store_n(&leaf->first[i], mrn_near(&leaf->node, p.first), __ATOMIC_RELEASE);
	__atomic_store_n(&leaf->last[i], mrn_near(&leaf->node, p.last), __ATOMIC_RELEASE);
	__atomic_store_n(&leaf->entry[i], e, __ATOMIC_RELEASE);
	leaf->node.used |= UINT32_C(1) << i;
	leaf->node.alone |= (uint32_t)alone << i;
	leaf->node.n++;
	leaf->node.max = max > leaf->node.max ? max : leaf->node.max;
}

void mrn_leaf_moved(const struct mrn_index *ix, const struct mrn_leaf *leaf)
{
	for (uint32_t used = leaf->node.used; used && ix->filter.table->hint; used &= used - 1)
		mrn_hint_move(ix->filter.table, leaf->entry[__builtin_ctz(used)]);
}

void mrn_leaf_clear(struct mrn_leaf *leaf, unsigned int i)
{
	__atomic_store_n(&leaf->entry[i], NULL, __ATOMIC_RELEASE);
	__atomic_store_n(&leaf->last[i], MRN_NOT_LAST, __ATOMIC_RELEASE);
	__atomic_store_n(&leaf->first[i], MRN_NOT_FIRST, __ATOMIC_RELEASE);
	leaf->node.used &= ~(UINT32_C(1) << i);
	leaf->node.alone &= ~(UINT32_C(1) << i);
	leaf->node.n--;
}

uintptr_t mrn_leaf_first_start(const struct mrn_leaf *leaf, uintptr_t first)
{
	for (unsigned int i = 0; i < SLOTS; i++)
		if (leaf->entry[i] && leaf->entry[i]->start < first)
			first = leaf->entry[i]->start;
	return first;
}

uintptr_t mrn_leaf_last_start(const struct mrn_leaf *leaf, uintptr_t last)
{
	for (unsigned int i = 0; i < SLOTS; i++)
		if (leaf->entry[i] && leaf->entry[i]->start > last)
			last = leaf->entry[i]->start;
	return last;
}

struct mrn_pages mrn_leaf_pages_at(const struct mrn_leaf *leaf, unsigned int i)
{
	int16_t first = leaf->first[i], last = leaf->last[i];

	if (leaf->node.shift || first == -MRN_FAR || last == MRN_FAR || first == MRN_FAR ||
	    last == -MRN_FAR)
		return mrn_pages_of(leaf->entry[i]->start, leaf->entry[i]->end);
	return (struct mrn_pages){leaf->node.base + (uint64_t)(int64_t)first,
				  leaf->node.base + (uint64_t)(int64_t)last};
}
