/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading the index. */
#include <stddef.h>

#include "index/check.h"
#include "index/node.h"

#include "os/event_path.h"

static bool is_after(const struct mrn_index_entry *e, const struct mrn_index_cursor *c)
{
	return e->start > c->start || (e->start == c->start && e->id > c->id);
}

/*
 * Adds a leaf's entries, in order. False, with nothing added, if they do not fit; into an empty list they always fit.
 */
static bool look_in_leaf(const struct mrn_leaf *leaf, struct mrn_pages p, struct mrn_index_walk *w)
{
	uint32_t mask = mrn_vector_within(leaf->first, leaf->last, mrn_near(&leaf->node, p.first),
					  mrn_near(&leaf->node, p.last));
	unsigned int first = w->n, n = w->n;

	if (first && first + (unsigned int)__builtin_popcount(mask) > SLOTS)
		return false;
	for (; mask; mask &= mask - 1) {
		/* Acquire pairs with the release that inserted the entry. */
		struct mrn_index_entry *e =
			__atomic_load_n(&leaf->entry[__builtin_ctz(mask)], __ATOMIC_ACQUIRE);
		unsigned int at = n;

		/* The slot may have been reused; the entry itself decides. */
		if (!e || e->start >= w->end || e->end <= w->start || !is_after(e, &w->cursor))
			continue;
		for (; at > first && mrn_entry_precedes(e, w->ahead[at - 1]); at--)
			w->ahead[at] = w->ahead[at - 1];
		w->ahead[at] = e;
		n++;
	}
	w->n = n;
	return true;
}

/* True if all of child i is before the cursor. */
static bool is_behind(const struct mrn_inner *in, unsigned int i, const struct mrn_index_cursor *c)
{
	return c->id && i + 1 < in->node.n &&
	       mrn_is_from(mrn_bias(c->start), c->id, in->key[i + 1], in->id[i + 1]);
}

/* On the way down: a node, and its children that are still to be visited. */
struct step {
	const struct mrn_inner *in;
	uint32_t left;
};

/* The next node to visit, or NULL. */
static struct mrn_index_node *next_node(const struct step *way, struct step **top,
					const struct mrn_index_cursor *c)
{
	while (*top != way) {
		struct step *s = *top - 1;
		struct mrn_index_node *child;
		unsigned int i;

		if (!s->left) {
			--*top;
			continue;
		}
		i = (unsigned int)__builtin_ctz(s->left);
		s->left &= s->left - 1;
		if (is_behind(s->in, i, c))
			continue;
		/* Acquire pairs with the release that published the child. */
		child = __atomic_load_n(&s->in->child[i], __ATOMIC_ACQUIRE);
		mrn_node_prefetch(child);
		return child;
	}
	return NULL;
}

/* False if there is no room for more entries. */
static bool look_below(struct mrn_index_node *node, struct mrn_index_walk *w)
{
	struct mrn_pages p = mrn_pages_of(w->start, w->end);
	struct step way[MRN_INDEX_LEVELS], *top = way;

	for (; node; node = next_node(way, &top, &w->cursor)) {
		const struct mrn_inner *in = mrn_inner(node);

		if (!node->level) {
			MRN_HOOK(leaf);
			if (!look_in_leaf(mrn_leaf(node), p, w))
				return false;
			continue;
		}
		top->in = in;
		top->left = mrn_vector_within(in->low, in->high, mrn_near(node, p.first),
					      mrn_near(node, p.last));
		top++;
	}
	return true;
}

static void look_ahead(const struct mrn_index *ix, struct mrn_index_walk *w)
{
	struct mrn_index_node *root;

	w->n = w->at = 0;
	/*
	 * Acquire: an entry whose erasure is counted is not found below; an erasure from now on invalidates the list.
	 */
	w->erased = __atomic_load_n(&ix->filter.erased, __ATOMIC_ACQUIRE);
	root = __atomic_load_n(&ix->root, __ATOMIC_ACQUIRE);
	w->more = root && !look_below(root, w);
}

struct mrn_index_entry *mrn_index_walk_next(const struct mrn_index *ix, struct mrn_index_walk *w)
{
	struct mrn_index_entry *e;

	/* Acquire, and the fence that began this section: an erasure that is not seen here waits for this section. */
	if (w->at < w->n && __atomic_load_n(&ix->filter.erased, __ATOMIC_ACQUIRE) != w->erased &&
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
