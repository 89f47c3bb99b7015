/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks the index's invariants, for checking builds. There must be no writer. */
#ifdef MRN_CHECK

#include <stddef.h>

#include "index/node.h"

/* A node's bounds: its first key, and the key after its last. */
struct bounds {
	int64_t key, next;
	uint64_t id, next_id;
	bool is_last;
};

static bool is_within(int64_t start, uint64_t id, const struct bounds *b)
{
	return mrn_is_from(start, id, b->key, b->id) &&
	       (b->is_last || !mrn_is_from(start, id, b->next, b->next_id));
}

/* True if the entry in this slot is as it was when it was put there. */
static bool slot_is_intact(const struct mrn_leaf *leaf, unsigned int i)
{
	const struct mrn_index_entry *e = leaf->entry[i];
	struct mrn_pages p = mrn_pages_of(e->start, e->end);

	return e->place == mrn_place(leaf, i, leaf->node.alone >> i & 1) &&
	       leaf->first[i] == mrn_near(&leaf->node, p.first) &&
	       leaf->last[i] == mrn_near(&leaf->node, p.last);
}

static bool slot_is_valid(const struct mrn_index *ix, const struct mrn_leaf *leaf, unsigned int i,
			  const struct bounds *b)
{
	const struct mrn_index_entry *e = leaf->entry[i];

	if (!e != !(leaf->node.used & UINT32_C(1) << i))
		return false;
	if (!e)
		return leaf->first[i] == MRN_NOT_FIRST && leaf->last[i] == MRN_NOT_LAST;
	return slot_is_intact(leaf, i) &&
	       mrn_max_of(&leaf->node, leaf->last[i]) >= mrn_bias(e->end) &&
	       is_within(mrn_bias(e->start), e->id, b) &&
	       mrn_filter_may_overlap(&ix->filter, e->start, e->end);
}

/* Counts entries, and finds the greatest end. */
static bool leaf_is_valid(const struct mrn_index *ix, const struct mrn_leaf *leaf,
			  const struct bounds *b, int64_t *max, uint64_t *entries)
{
	unsigned int n = 0;

	*max = MRN_KEY_MIN;
	for (unsigned int i = 0; i < SLOTS; i++) {
		int64_t end = mrn_max_of(&leaf->node, leaf->last[i]);

		if (!slot_is_valid(ix, leaf, i, b))
			return false;
		*max = end > *max ? end : *max;
		n += leaf->entry[i] != NULL;
	}
	*entries += n;
	return leaf->node.n == n && leaf->node.max == *max;
}

static bool node_is_valid(const struct mrn_index *ix, struct mrn_index_node *node,
			  const struct bounds *b, int64_t *max, uint64_t *entries)
{
	const struct mrn_inner *in = mrn_inner(node);

	if (!node->level)
		return leaf_is_valid(ix, mrn_leaf(node), b, max, entries);
	*max = MRN_KEY_MIN;
	if (!node->n || node->n > SLOTS || in->key[0] != MRN_KEY_MIN || in->id[0])
		return false;
	for (unsigned int i = 0; i < SLOTS; i++) {
		struct bounds below = {in->key[i], b->next, in->id[i], b->next_id, b->is_last};
		int64_t below_max;

		if (i >= node->n) {
			if (in->key[i] != MRN_KEY_MAX || in->max[i] != MRN_KEY_MIN ||
			    in->low[i] != MRN_NOT_FIRST || in->high[i] != MRN_NOT_LAST ||
			    in->child[i])
				return false;
			continue;
		}
		if (!i) {
			below.key = b->key;
			below.id = b->id;
		}
		if (i + 1 < node->n) {
			below.next = in->key[i + 1];
			below.next_id = in->id[i + 1];
			below.is_last = false;
		}
		if (in->low[i] != (i ? mrn_low_of(node, in->key[i]) : -MRN_FAR) ||
		    in->high[i] != mrn_high_of(node, in->max[i]))
			return false;
		if (in->child[i]->level + 1 != node->level ||
		    (i && !is_within(in->key[i], in->id[i], b)) ||
		    !node_is_valid(ix, in->child[i], &below, &below_max, entries) ||
		    below_max != in->max[i])
			return false;
		*max = below_max > *max ? below_max : *max;
	}
	return true;
}

bool mrn_index_is_valid(const struct mrn_index *ix)
{
	struct bounds all = {.key = MRN_KEY_MIN, .is_last = true};
	uint64_t entries = 0;
	int64_t max;

	if (!ix->root)
		return !ix->filter.entries && !ix->height;
	return ix->root->level == ix->height && (!ix->height || ix->root->n > 1) &&
	       node_is_valid(ix, ix->root, &all, &max, &entries) && entries == ix->filter.entries;
}

static bool node_is_intact(struct mrn_index_node *node, struct mrn_pages p)
{
	/* Leaves and inner nodes are alike here: the first and the last page of each slot. */
	const struct mrn_inner *in = mrn_inner(node);
	uint32_t mask = mrn_vector_within(in->low, in->high, mrn_near(node, p.first),
					  mrn_near(node, p.last));

	for (; mask; mask &= mask - 1) {
		unsigned int i = (unsigned int)__builtin_ctz(mask);

		if (node->level ? !node_is_intact(in->child[i], p)
				: !slot_is_intact(mrn_leaf(node), i))
			return false;
	}
	return true;
}

bool mrn_index_is_intact(const struct mrn_index *ix, uintptr_t start, uintptr_t end)
{
	return !ix->root || node_is_intact(ix->root, mrn_pages_of(start, end));
}

#endif
