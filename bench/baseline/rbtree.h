/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An interval tree like the Linux kernel's: intrusive nodes of half-open ranges in a red-black tree by start, each with
 * a pointer to its parent and with the maximum end of its subtree. No locking, no allocation.
 *
 * Invariants: the root is black; a red node's children are black; every path down meets equally many black nodes;
 * max_end(n) = max(n.end, max_end of children); left <= n <= right by start.
 */
#ifndef BENCH_BASELINE_RBTREE_H
#define BENCH_BASELINE_RBTREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct baseline_node {
	uintptr_t parent_red; /* the parent, plus 1 if red; the node itself if in no tree */
	struct baseline_node *child[2];
	uintptr_t start, end, max_end;
};

struct baseline_tree {
	/* first is the first in order: most queries below it end there. */
	struct baseline_node *root, *first;
};

/* Marks a node as being in no tree; erase does so too. */
static inline void baseline_node_unlink(struct baseline_node *n)
{
	n->parent_red = (uintptr_t)n;
}

static inline bool baseline_node_is_linked(const struct baseline_node *n)
{
	return n->parent_red != (uintptr_t)n;
}

/* Set start and end before, start < end. */
void baseline_tree_insert(struct baseline_tree *tree, struct baseline_node *node);
void baseline_tree_erase(struct baseline_tree *tree, struct baseline_node *node);

/* The first node in order that overlaps [start, end), and the next one after node; or NULL. */
struct baseline_node *baseline_tree_first(const struct baseline_tree *tree, uintptr_t start,
					  uintptr_t end);
struct baseline_node *baseline_tree_next(const struct baseline_node *node, uintptr_t start,
					 uintptr_t end);

/* Checks every invariant; for tests. */
bool baseline_tree_is_valid(const struct baseline_tree *tree);

#endif
