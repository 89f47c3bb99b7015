/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading the index. */
#include <stddef.h>

#include "core/check.h"
#include "core/index_node.h"

#include "os/event_path.h"

static bool is_after(const struct mrn_index_entry *e, const struct mrn_index_cursor *c)
{
	return e->start > c->start || (e->start == c->start && e->id > c->id);
}

static bool precedes(const struct mrn_index_entry *a, const struct mrn_index_entry *b)
{
	return a->start < b->start || (a->start == b->start && a->id < b->id);
}

static void at_leaf(void)
{
#ifdef MRN_CHECK
	void (*hook)(void) = mrn_check_leaf_hook;

	if (hook)
		hook();
#endif
}

/* Adds what a leaf has, in order. It always fits when there is nothing yet; else false, and nothing is added. */
static bool look_in_leaf(const struct mrn_leaf *leaf, struct mrn_index_walk *w)
{
	struct mrn_pages p = mrn_pages_of(w->start, w->end);
	uint32_t mask = mrn_vector_within(leaf->first, leaf->last, mrn_near(&leaf->node, p.first),
					  mrn_near(&leaf->node, p.last));
	unsigned int first = w->n, n = w->n;

	if (first + (unsigned int)__builtin_popcount(mask) > SLOTS)
		return false;
	for (; mask; mask &= mask - 1) {
		/* Acquire: the entry is as whoever inserted it left it. */
		struct mrn_index_entry *e =
			__atomic_load_n(&leaf->entry[__builtin_ctz(mask)], __ATOMIC_ACQUIRE);
		unsigned int at = n;

		/* The slot may have become another's; the entry itself knows. */
		if (!e || e->start >= w->end || e->end <= w->start || !is_after(e, &w->cursor))
			continue;
		for (; at > first && precedes(e, w->ahead[at - 1]); at--)
			w->ahead[at] = w->ahead[at - 1];
		w->ahead[at] = e;
		n++;
	}
	w->n = n;
	return true;
}

/* Is all of child i before the cursor? */
static bool is_behind(const struct mrn_inner *in, unsigned int i, const struct mrn_index_cursor *c)
{
	return i + 1 < in->node.n &&
	       mrn_is_from(mrn_bias(c->start), c->id, in->key[i + 1], in->id[i + 1]);
}

/* A leaf is some lines, and nobody knows which of them before the first is there. */
static void prefetch_leaf(const struct mrn_index_node *node)
{
	const char *line = (const char *)node;

	for (unsigned int i = 0; i < sizeof(struct mrn_leaf); i += 64)
		__builtin_prefetch(line + i);
}

/* False when there is no room for more. Recursive: as deep as the tree is high. */
static bool look_below(struct mrn_index_node *node, struct mrn_index_walk *w)
{
	struct mrn_inner *in = mrn_inner(node);
	uint32_t mask;

	if (!node->level) {
		at_leaf();
		return look_in_leaf(mrn_leaf(node), w);
	}
	mask = mrn_vector_overlap(in->key, in->max, mrn_bias(w->start), mrn_bias(w->end));
	for (; mask; mask &= mask - 1) {
		unsigned int i = (unsigned int)__builtin_ctz(mask);
		struct mrn_index_node *child;

		if (is_behind(in, i, &w->cursor))
			continue;
		/* Acquire: the child is as whoever put it there left it. */
		child = __atomic_load_n(&in->child[i], __ATOMIC_ACQUIRE);
		if (node->level == 1)
			prefetch_leaf(child);
		if (!look_below(child, w))
			return false;
	}
	return true;
}

static void look_ahead(const struct mrn_index *ix, struct mrn_index_walk *w)
{
	struct mrn_index_node *root;

	w->n = w->at = 0;
	/* Acquire: what has been counted is not found below; what is erased from now on makes all of it void. */
	w->erased = __atomic_load_n(&ix->erased, __ATOMIC_ACQUIRE);
	root = __atomic_load_n(&ix->root, __ATOMIC_ACQUIRE);
	w->more = root && !look_below(root, w);
}

struct mrn_index_entry *mrn_index_walk_next(const struct mrn_index *ix, struct mrn_index_walk *w)
{
	struct mrn_index_entry *e;

	/* Acquire, and the fence that began this section: an erase that we do not see waits for us. */
	if (w->at < w->n && __atomic_load_n(&ix->erased, __ATOMIC_ACQUIRE) != w->erased &&
	    !MRN_BROKEN(INDEX_AHEAD))
		w->more = true;
	else if (w->at < w->n)
		goto found;
	if (!w->more)
		return NULL;
	look_ahead(ix, w);
	if (!w->n)
		return NULL;
found:
	e = w->ahead[w->at++];
	w->cursor = (struct mrn_index_cursor){e->start, e->id};
	return e;
}
