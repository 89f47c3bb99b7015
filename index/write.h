/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What writing the index is made of: one writer at a time, readers all the while (index.h says what they may see).
 */
#ifndef MRN_INDEX_WRITE_H
#define MRN_INDEX_WRITE_H

#include "index/node.h"
#include "index/pool.h"

/* ---- index_leaf.c */

/* Has been reserved. For entries that start in between. */
struct mrn_leaf *mrn_leaf_new(struct mrn_index *ix, uintptr_t first, uintptr_t last);
/* Into a free slot. Its parents know of the entry's end already, and its place says whether it is alone. */
void mrn_leaf_put(struct mrn_leaf *leaf, struct mrn_index_entry *e);
void mrn_leaf_clear(struct mrn_leaf *leaf, unsigned int i);

/* The maximum that the leaf has, by its slots; that it has by this entry. */
int64_t mrn_leaf_greatest(const struct mrn_leaf *leaf);
int64_t mrn_leaf_max_with(const struct mrn_leaf *leaf, const struct mrn_index_entry *e);

/* The first start, and the last, of its entries and the one given. */
uintptr_t mrn_leaf_first_start(const struct mrn_leaf *leaf, uintptr_t first);
uintptr_t mrn_leaf_last_start(const struct mrn_leaf *leaf, uintptr_t last);

/* The pages of a slot; of one that knows its entry's only roughly, the entry's. */
struct mrn_pages mrn_leaf_pages_at(const struct mrn_leaf *leaf, unsigned int i);

/* ---- index_inner.c */

/* A child, as its parent has it. */
struct mrn_index_child {
	int64_t key, max;
	uint64_t id;
	struct mrn_index_node *node;
};

/* Of child i. */
void mrn_index_set_max(struct mrn_inner *in, unsigned int i, int64_t max);
/* The node on this level has another greatest end: its parents are told, as far up as it makes a difference. */
void mrn_index_adjust(struct mrn_index *ix, const struct mrn_index_way *way, unsigned int level);

/* One new root, or the two children of one, or none. */
void mrn_index_set_root(struct mrn_index *ix, const struct mrn_index_child *c, unsigned int n);

/*
 * Puts n new children in the place of `old` ones from way->at[level] on, all on this level: 0 to 2 for 1 or 2.
 * The key of the first one does not matter.
 * The old ones are retired by the caller, the nodes above that this replaces here.
 */
void mrn_index_replace(struct mrn_index *ix, const struct mrn_index_way *way, unsigned int level,
		       unsigned int old, const struct mrn_index_child *new, unsigned int n);

/* Nodes that one change may need: two leaves, and on each level above two inner nodes, and a root. */
bool mrn_index_reserve(struct mrn_index *ix);

#endif
