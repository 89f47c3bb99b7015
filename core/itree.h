/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An interval tree: intrusive nodes of half-open ranges in an AVL tree by (start, id), each with the
 * maximum end of its subtree. No locking, no allocation.
 *
 * Invariants, for every node n:  height(n) = 1 + max(height of children);
 * |height(left) - height(right)| <= 1;  max_end(n) = max(n.end, max_end of children);
 * left < n < right by (start, id).
 */
#ifndef MRN_CORE_ITREE_H
#define MRN_CORE_ITREE_H

#include <mrn/mmu_notifier.h>

struct mrn_itree_node {
	struct mrn_itree_node *child[2];
	uintptr_t start, end, max_end;
	uint64_t id;
	int height;
};

/* The caller has set start, end (start < end) and an id that is unique among equal starts. */
void mrn_itree_insert(struct mrn_itree_node **root, struct mrn_itree_node *node);

/* node must be in the tree, its start, end and id unchanged since. */
void mrn_itree_erase(struct mrn_itree_node **root, struct mrn_itree_node *node);

/* A position in the order of the tree; it stays good when nodes come and go. */
struct mrn_itree_cursor {
	uintptr_t start;
	uint64_t id;
};
#define MRN_ITREE_FIRST ((struct mrn_itree_cursor){0, 0})

/*
 * The first node after the cursor that overlaps [start, end), or NULL. No node has (start, id) =
 * (0, 0), so MRN_ITREE_FIRST comes before all.
 */
struct mrn_itree_node *mrn_itree_next(struct mrn_itree_node *root, uintptr_t start, uintptr_t end,
				      struct mrn_itree_cursor cursor);

/* Checks every invariant; for tests. */
bool mrn_itree_is_valid(const struct mrn_itree_node *root);

#endif
