/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The nodes of the index.
 *
 * Invariants
 *  - A leaf's slot with an entry has that entry's start and end, one without overlaps nothing: start is the
 *    greatest number, end the least. used says which are which, to the writer.
 *  - An inner node's children are in order, in its first n slots. Everything below child i is at least
 *    (key[i], id[i]) and less than what child i + 1 has; the first child of each node has (MRN_KEY_MIN, 0).
 *  - max[i] is at least, and when nobody is writing just, the greatest end below child i.
 *  - All leaves are on one level. No inner node is empty, and the root has at least two children.
 *
 * Numbers are biased: unsigned order as signed order, which is what vectors compare.
 */
#ifndef MRN_CORE_INDEX_NODE_H
#define MRN_CORE_INDEX_NODE_H

#include "core/index.h"
#include "os/atomic.h"

#define SLOTS	    MRN_INDEX_SLOTS
#define MRN_LEVELS  12 /* more than memory has room for */
#define MRN_KEY_MIN INT64_MIN
#define MRN_KEY_MAX INT64_MAX

struct mrn_index_node {
	uint32_t level;		     /* 0: a leaf */
	uint32_t n;		     /* inner: children; leaf: entries */
	uint32_t used;		     /* leaf: a bit for each slot */
	struct mrn_index_node *next; /* in a list of free or retired nodes */
} __attribute__((aligned(64)));

struct mrn_leaf {
	struct mrn_index_node node;
	int64_t start[SLOTS], end[SLOTS];
	struct mrn_index_entry *entry[SLOTS];
};

struct mrn_inner {
	struct mrn_index_node node;
	int64_t key[SLOTS], max[SLOTS];
	struct mrn_index_node *child[SLOTS];
	uint64_t id[SLOTS];
};

static inline int64_t mrn_bias(uintptr_t addr)
{
	return (int64_t)((uint64_t)addr ^ (UINT64_C(1) << 63));
}

static inline struct mrn_leaf *mrn_leaf(struct mrn_index_node *n)
{
	return (struct mrn_leaf *)n;
}

static inline struct mrn_inner *mrn_inner(struct mrn_index_node *n)
{
	return (struct mrn_inner *)n;
}

/* Is (start, id) at or after (key, key_id)? */
static inline bool mrn_is_from(int64_t start, uint64_t id, int64_t key, uint64_t key_id)
{
	return start > key || (start == key && id >= key_id);
}

/* The child that (start, id) belongs to. */
static inline unsigned int mrn_child_of(const struct mrn_inner *in, int64_t start, uint64_t id)
{
	unsigned int i = 0, n = in->node.n;

	while (n > 1) {
		unsigned int half = n / 2;

		i += mrn_is_from(start, id, in->key[i + half], in->id[i + half]) ? half : 0;
		n -= half;
	}
	return i;
}

#endif
