/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts of writing the index: one writer at a time, with concurrent readers (index.h says what they may see). */
#ifndef MRN_INDEX_WRITE_H
#define MRN_INDEX_WRITE_H

#include "index/node.h"
#include "index/pool.h"

/* ---- leaf.c */

/* Takes a reserved leaf, for entries that start between first and last. */
struct mrn_leaf *mrn_leaf_new(struct mrn_index *ix, uintptr_t first, uintptr_t last);
/* Puts e into a free slot. The parents' maxima cover e's end already, and e->place says whether it is alone. */
void mrn_leaf_put(struct mrn_leaf *leaf, struct mrn_index_entry *e);
/* The leaf's entries were in other leaves before. */
void mrn_leaf_moved(const struct mrn_index *ix, const struct mrn_leaf *leaf);
void mrn_leaf_clear(struct mrn_leaf *leaf, unsigned int i);

/* The leaf's maximum, from its slots; and from this entry. */
int64_t mrn_leaf_greatest(const struct mrn_leaf *leaf);
int64_t mrn_leaf_max_with(const struct mrn_leaf *leaf, const struct mrn_index_entry *e);

/* The first, and the last, start among the leaf's entries and the given one. */
uintptr_t mrn_leaf_first_start(const struct mrn_leaf *leaf, uintptr_t first);
uintptr_t mrn_leaf_last_start(const struct mrn_leaf *leaf, uintptr_t last);

/* The pages of a slot; if the slot has them only roughly, the entry's. */
struct mrn_pages mrn_leaf_pages_at(const struct mrn_leaf *leaf, unsigned int i);

/* ---- inner.c */

/* A child, with what its parent stores of it. */
struct mrn_index_child {
	int64_t key, max;
	uint64_t id;
	struct mrn_index_node *node;
};

/* Sets the maximum of child i. */
void mrn_index_set_max(struct mrn_inner *in, unsigned int i, int64_t max);
/* Updates the parents' maxima after that of the node on this level has changed, as far up as necessary. */
void mrn_index_adjust(struct mrn_index *ix, const struct mrn_index_way *way, unsigned int level);

/* Makes the root from n children: two get a new root, one becomes the root, none empties the tree. */
void mrn_index_set_root(struct mrn_index *ix, const struct mrn_index_child *c, unsigned int n);

/*
 * Puts n new children in the place of `old` ones from way->at[level] on, all on this level: 0 to 2 for 1 or 2.
 * The key of the first one does not matter.
 * The old ones are retired by the caller, the nodes above that this replaces here.
 */
void mrn_index_replace(struct mrn_index *ix, const struct mrn_index_way *way, unsigned int level,
		       unsigned int old, const struct mrn_index_child *new, unsigned int n);

/* Reserves the nodes that one change may need: two leaves, two inner nodes per level above, and a root. */
bool mrn_index_reserve(struct mrn_index *ix);

#endif
