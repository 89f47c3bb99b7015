/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The nodes of the index.
 *
 * Invariants
 *  - A leaf's slot with an entry has the entry's first and last page, relative to the leaf's base and in units that
 *    bring them near; pages that are still too far are clamped. So a slot may seem to overlap when it does not, but
 *    never the other way round. A slot without an entry overlaps nothing: first is the greatest number, last the least.
 *    used tells the writer which slots have entries; an entry's place is its leaf and slot.
 *  - An inner node's children are in order, in its first n slots. Everything below child i is at least
 *    (key[i], id[i]) and less than what child i + 1 has; the first child of each node has (MRN_KEY_MIN, 0).
 *  - max[i] is at least, and without a writer exactly, the greatest end below child i, as leaves know it. A leaf has
 *    its own max, too.
 *  - low[i] and high[i] are key[i] and max[i] as pages, relative to the node's base and in units that bring them near;
 *    readers compare sixteen at a time.
 *  - All leaves are on one level. No inner node is empty, and the root has at least two children.
 *
 * Keys and maxima are biased, so that unsigned order becomes signed order, which vectors compare.
 */
#ifndef MRN_INDEX_NODE_H
#define MRN_INDEX_NODE_H

#include <stddef.h>

#include "index/index.h"
#include "index/vector.h"
#include "os/atomic.h"

#define SLOTS	      MRN_INDEX_SLOTS
#define MRN_KEY_MIN   INT64_MIN
#define MRN_KEY_MAX   INT64_MAX
#define MRN_NOT_FIRST INT16_MAX
#define MRN_NOT_LAST  INT16_MIN
#define MRN_FAR	      (INT16_MAX - 1)

struct mrn_index_node {
	uint32_t level;		     /* 0: a leaf */
	uint32_t n;		     /* inner: children; leaf: entries */
	struct mrn_index_node *next; /* in a list of free or retired nodes */
	uint64_t base;		     /* a page */
	unsigned int shift;	     /* log2 of the unit in which pages are counted */
	/* For a leaf. */
	int64_t max;
	uint32_t used;	/* a bit for each slot */
	uint32_t alone; /* a bit for each slot whose entry the filter has as alone */
} __attribute__((aligned(64)));

struct mrn_leaf {
	struct mrn_index_node node;
	int16_t first[SLOTS], last[SLOTS];
	struct mrn_index_entry *entry[SLOTS];
};

struct mrn_inner {
	struct mrn_index_node node;
	int16_t low[SLOTS], high[SLOTS];
	struct mrn_index_node *child[SLOTS];
	/* For the writer. */
	int64_t key[SLOTS], max[SLOTS];
	uint64_t id[SLOTS];
};

static inline int64_t mrn_bias(uintptr_t addr)
{
	return (int64_t)((uint64_t)addr ^ (UINT64_C(1) << 63));
}

static inline uintptr_t mrn_unbias(int64_t biased)
{
	return (uintptr_t)((uint64_t)biased ^ (UINT64_C(1) << 63));
}

/* A page relative to a node. Monotonic in page, which makes clamping safe. */
static inline int16_t mrn_near(const struct mrn_index_node *node, uint64_t page)
{
	int64_t distance = (int64_t)(page - node->base) >> node->shift;

	if (distance > MRN_FAR)
		return MRN_FAR;
	return distance < -MRN_FAR ? -MRN_FAR : (int16_t)distance;
}

/* Sets the node's scale so that pages from first to last are near, and some outside, too. */
static inline void mrn_set_scale(struct mrn_index_node *node, uint64_t first, uint64_t last)
{
	node->base = first;
	node->shift = 0;
	while ((last - first) >> node->shift > MRN_FAR / 4)
		node->shift++;
}

/* The maximum that a leaf's last page makes. */
static inline int64_t mrn_max_of(const struct mrn_index_node *leaf, int16_t last)
{
	uint64_t end = leaf->base + ((uint64_t)((int64_t)last + 1) << leaf->shift);

	if (last == MRN_NOT_LAST)
		return MRN_KEY_MIN;
	/* Clamped, or at the end of the address space, which is not a number. */
	if (last == MRN_FAR || end >= UINT64_C(1) << (64 - MRN_FILTER_PAGE))
		return MRN_KEY_MAX;
	return mrn_bias((uintptr_t)(end << MRN_FILTER_PAGE));
}

/* A key and a maximum as readers compare them. */
static inline int16_t mrn_low_of(const struct mrn_index_node *inner, int64_t key)
{
	return mrn_near(inner, (uint64_t)mrn_unbias(key) >> MRN_FILTER_PAGE);
}

static inline int16_t mrn_high_of(const struct mrn_index_node *inner, int64_t max)
{
	if (max == MRN_KEY_MIN)
		return MRN_NOT_LAST;
	return mrn_near(inner, ((uint64_t)mrn_unbias(max) - 1) >> MRN_FILTER_PAGE);
}

static inline struct mrn_leaf *mrn_leaf(struct mrn_index_node *n)
{
	return (struct mrn_leaf *)n;
}

/* Readers need some lines of a node; which ones is only known once the first has arrived, so prefetch all. */
static inline void mrn_node_prefetch(const struct mrn_index_node *node)
{
	const char *line = (const char *)node;

	_Static_assert(sizeof(struct mrn_leaf) == offsetof(struct mrn_inner, key),
		       "alike to readers");
	for (unsigned int i = 0; i < sizeof(struct mrn_leaf); i += 64)
		__builtin_prefetch(line + i);
}

static inline struct mrn_inner *mrn_inner(struct mrn_index_node *n)
{
	return (struct mrn_inner *)n;
}

/* Nodes are aligned, so a place has room for the slot's number and the alone bit. */
#define MRN_PLACE_ALONE ((uintptr_t)SLOTS)

static inline uintptr_t mrn_place(const struct mrn_leaf *leaf, unsigned int slot, bool alone)
{
	return (uintptr_t)leaf | slot | (alone ? MRN_PLACE_ALONE : 0);
}

static inline struct mrn_leaf *mrn_place_leaf(uintptr_t place)
{
	return (struct mrn_leaf *)(place & ~(MRN_PLACE_ALONE | (SLOTS - 1)));
}

static inline unsigned int mrn_place_slot(uintptr_t place)
{
	return place & (SLOTS - 1);
}

/* The order of entries. */
static inline bool mrn_entry_precedes(const struct mrn_index_entry *a,
				      const struct mrn_index_entry *b)
{
	return a->start < b->start || (a->start == b->start && a->id < b->id);
}

/* True if (start, id) is at or after (key, key_id). */
static inline bool mrn_is_from(int64_t start, uint64_t id, int64_t key, uint64_t key_id)
{
	return start > key || (start == key && id >= key_id);
}

/* The child to which (start, id) belongs. If low[] is not exact enough, compares keys. */
static inline unsigned int mrn_child_of(const struct mrn_inner *in, int64_t start, uint64_t id)
{
	int16_t near = mrn_low_of(&in->node, start);
	unsigned int i = mrn_vector_count(in->low, near) - 1;

	while (i && in->low[i] == near && !mrn_is_from(start, id, in->key[i], in->id[i]))
		i--;
	return i;
}

#endif
