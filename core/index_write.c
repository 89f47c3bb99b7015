/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writing the index: one writer at a time, readers all the while (index.h says what they may see).
 *
 * Down the tree to the leaf; there, one slot. When a leaf is full, or hardly anything is left in two, new ones
 * are made, and a new parent that has them in their places, and so on up as far as that takes.
 */
#include <errno.h>
#include <stddef.h>

#include "core/index_node.h"
#include "core/index_pool.h"

/* ------------------------------------------------------------------------------------------- the way */

/* node[l] is on level l, child at[l] of node[l + 1]. */
struct way {
	struct mrn_index_node *node[MRN_LEVELS];
	unsigned int at[MRN_LEVELS];
};

static void find_way(struct mrn_index *ix, const struct mrn_index_entry *e, struct way *way)
{
	struct mrn_index_node *node = ix->root;

	for (unsigned int l = ix->height; l; l--) {
		unsigned int i = mrn_child_of(mrn_inner(node), mrn_bias(e->start), e->id);

		way->node[l] = node;
		way->at[l - 1] = i;
		node = mrn_inner(node)->child[i];
	}
	way->node[0] = node;
}

/* ------------------------------------------------------------------------------------------ new nodes */

/* A child, as its parent has it. */
struct child {
	int64_t key, max;
	uint64_t id;
	struct mrn_index_node *node;
};

static int64_t greatest(const int64_t *number)
{
	int64_t max = MRN_KEY_MIN;

	for (unsigned int i = 0; i < SLOTS; i++)
		max = number[i] > max ? number[i] : max;
	return max;
}

static struct mrn_leaf *new_leaf(struct mrn_index *ix)
{
	struct mrn_leaf *leaf = mrn_leaf(mrn_pool_take(ix, 0));

	leaf->node.level = leaf->node.n = leaf->node.used = 0;
	for (unsigned int i = 0; i < SLOTS; i++) {
		leaf->start[i] = MRN_KEY_MAX;
		leaf->end[i] = MRN_KEY_MIN;
		leaf->entry[i] = NULL;
	}
	return leaf;
}

static struct child new_inner(struct mrn_index *ix, unsigned int level, const struct child *child,
			      unsigned int n)
{
	struct mrn_inner *in = mrn_inner(mrn_pool_take(ix, 1));
	int64_t max = MRN_KEY_MIN;

	in->node.level = level;
	in->node.n = n;
	for (unsigned int i = 0; i < SLOTS; i++) {
		in->key[i] = i < n ? child[i].key : MRN_KEY_MAX;
		in->max[i] = i < n ? child[i].max : MRN_KEY_MIN;
		in->id[i] = i < n ? child[i].id : UINT64_MAX;
		in->child[i] = i < n ? child[i].node : NULL;
		max = in->max[i] > max ? in->max[i] : max;
	}
	/* The first one has everything before the second, whatever the node's own key is. */
	in->key[0] = MRN_KEY_MIN;
	in->id[0] = 0;
	return (struct child){child[0].key, max, child[0].id, &in->node};
}

/* -------------------------------------------------------------------------------------- replacing nodes */

/* Readers see the old one or the new one, and a maximum that is enough for both. */
static void replace_in_place(struct mrn_inner *in, unsigned int i, const struct child *c)
{
	if (c->max > in->max[i])
		__atomic_store_n(&in->max[i], c->max, __ATOMIC_RELEASE);
	/* Release: pairs with look_below's acquire. */
	__atomic_store_n(&in->child[i], c->node, __ATOMIC_RELEASE);
	if (c->max < in->max[i])
		__atomic_store_n(&in->max[i], c->max, __ATOMIC_RELEASE);
}

/* One new root, or the two children of one, or none. */
static void set_root(struct mrn_index *ix, const struct child *c, unsigned int n)
{
	struct mrn_index_node *root = n ? c[0].node : NULL;

	if (n > 1)
		root = new_inner(ix, root->level + 1, c, n).node;
	/* What has one child is no use. */
	while (root && root->level && root->n == 1) {
		mrn_pool_retire(ix, root);
		root = mrn_inner(root)->child[0];
	}
	ix->height = root ? root->level : 0;
	__atomic_store_n(&ix->root, root, __ATOMIC_RELEASE);
}

/*
 * Puts n new children in the place of `old` ones from way->at[level] on, all on this level: 0 to 2 for 1 or 2.
 * The key of the first one does not matter.
 * The old ones are retired by the caller, the nodes above that this replaces here.
 */
static void replace(struct mrn_index *ix, const struct way *way, unsigned int level,
		    unsigned int old, const struct child *new, unsigned int n)
{
	unsigned int at = way->at[level], all = 0;
	struct child list[SLOTS + 1], above[2];
	struct mrn_inner *in;

	if (level == ix->height) {
		set_root(ix, new, n);
		return;
	}
	in = mrn_inner(way->node[level + 1]);
	if (old == 1 && n == 1) {
		replace_in_place(in, at, new);
		return;
	}
	for (unsigned int i = 0; i < in->node.n; i++) {
		for (unsigned int k = 0; i == at && k < n; k++) {
			list[all] = new[k];
			/* The first one has what the old one had. */
			if (!k) {
				list[all].key = in->key[at];
				list[all].id = in->id[at];
			}
			all++;
		}
		if (i < at || i >= at + old)
			list[all++] =
				(struct child){in->key[i], in->max[i], in->id[i], in->child[i]};
	}
	mrn_pool_retire(ix, &in->node);
	n = 0;
	if (all > SLOTS) {
		/* Whoever inserts in ascending order leaves full nodes behind. */
		unsigned int half = at + 1 == SLOTS ? SLOTS - 1 : SLOTS / 2;

		above[n++] = new_inner(ix, level + 1, list, half);
		above[n++] = new_inner(ix, level + 1, list + half, all - half);
	} else if (all) {
		above[n++] = new_inner(ix, level + 1, list, all);
	}
	replace(ix, way, level + 1, 1, above, n);
}

/* ---------------------------------------------------------------------------------------------- leaves */

/* What a leaf knows of an entry, which may be far away. */
struct item {
	int64_t start, end;
	struct mrn_index_entry *entry;
};

static struct item item_of(struct mrn_index_entry *e)
{
	return (struct item){mrn_bias(e->start), mrn_bias(e->end), e};
}

static struct item item_at(const struct mrn_leaf *leaf, unsigned int i)
{
	return (struct item){leaf->start[i], leaf->end[i], leaf->entry[i]};
}

static void put(struct mrn_leaf *leaf, struct item x)
{
	unsigned int i = (unsigned int)__builtin_ctz(~leaf->node.used);

	/* Releases: of a slot's states a reader sees none before one that he has seen. */
	__atomic_store_n(&leaf->start[i], x.start, __ATOMIC_RELEASE);
	__atomic_store_n(&leaf->end[i], x.end, __ATOMIC_RELEASE);
	__atomic_store_n(&leaf->entry[i], x.entry, __ATOMIC_RELEASE);
	leaf->node.used |= UINT32_C(1) << i;
	leaf->node.n++;
}

static void clear(struct mrn_leaf *leaf, const struct mrn_index_entry *e)
{
	unsigned int i = 0;

	while (leaf->entry[i] != e)
		i++;
	__atomic_store_n(&leaf->entry[i], NULL, __ATOMIC_RELEASE);
	__atomic_store_n(&leaf->end[i], MRN_KEY_MIN, __ATOMIC_RELEASE);
	__atomic_store_n(&leaf->start[i], MRN_KEY_MAX, __ATOMIC_RELEASE);
	leaf->node.used &= ~(UINT32_C(1) << i);
	leaf->node.n--;
}

static bool precedes(const struct item *a, const struct item *b)
{
	return a->start < b->start || (a->start == b->start && a->entry->id < b->entry->id);
}

/* The entries of a full leaf and one more, in order. Where the one is. */
static unsigned int sort(const struct mrn_leaf *leaf, struct mrn_index_entry *e, struct item *list)
{
	unsigned int at = 0;

	for (unsigned int i = 0; i <= SLOTS; i++) {
		struct item x = i < SLOTS ? item_at(leaf, i) : item_of(e);

		for (at = i; at && precedes(&x, &list[at - 1]); at--)
			list[at] = list[at - 1];
		list[at] = x;
	}
	return at;
}

static void split(struct mrn_index *ix, const struct way *way, struct mrn_index_entry *e)
{
	struct mrn_leaf *old = mrn_leaf(way->node[0]), *half[2] = {new_leaf(ix), new_leaf(ix)};
	struct item list[SLOTS + 1];
	unsigned int at = sort(old, e, list), left = SLOTS / 2;
	struct child new[2];

	/* Whoever inserts in ascending or in descending order leaves full leaves behind. */
	if (at == SLOTS || !at)
		left = at ? SLOTS : 1;
	for (unsigned int i = 0; i <= SLOTS; i++)
		put(half[i >= left], list[i]);
	new[0] = (struct child){.max = greatest(half[0]->end), .node = &half[0]->node};
	new[1] = (struct child){list[left].start, greatest(half[1]->end), list[left].entry->id,
				&half[1]->node};
	replace(ix, way, 0, 1, new, 2);
	mrn_pool_retire(ix, &old->node);
}

/* ---------------------------------------------------------------------------------------------- insert */

/* Nodes that one change may need: two leaves, and on each level above two inner nodes, and a root. */
static bool reserve(struct mrn_index *ix)
{
	return mrn_pool_reserve(ix, 0, 2) && mrn_pool_reserve(ix, 1, 2 * ix->height + 1);
}

static void fill_table(struct mrn_filter_table *t, struct mrn_index_node *node)
{
	if (!node->level) {
		for (unsigned int i = 0; i < SLOTS; i++)
			if (mrn_leaf(node)->entry[i])
				mrn_filter_table_add(t, mrn_leaf(node)->entry[i]->start,
						     mrn_leaf(node)->entry[i]->end);
		return;
	}
	for (unsigned int i = 0; i < node->n; i++)
		fill_table(t, mrn_inner(node)->child[i]);
}

/* False when there is none at all. */
static bool make_filter(struct mrn_index *ix)
{
	struct mrn_filter_table *t;

	if (!mrn_filter_is_full(&ix->filter))
		return true;
	t = mrn_filter_larger(&ix->filter);
	if (!t)
		return ix->filter.table;
	if (ix->root)
		fill_table(t, ix->root);
	mrn_filter_replace(&ix->filter, t);
	return true;
}

static void raise(struct mrn_index *ix, const struct way *way, int64_t end)
{
	for (unsigned int l = ix->height; l; l--) {
		int64_t *max = &mrn_inner(way->node[l])->max[way->at[l - 1]];

		if (*max < end)
			__atomic_store_n(max, end, __ATOMIC_RELEASE);
	}
}

int mrn_index_insert(struct mrn_index *ix, struct mrn_index_entry *e)
{
	struct way way;

	if (!reserve(ix) || !make_filter(ix))
		return -ENOMEM;
	if (!ix->root)
		set_root(ix, &(struct child){.node = &new_leaf(ix)->node}, 1);
	find_way(ix, e, &way);
	mrn_filter_add(&ix->filter, e->start, e->end);
	raise(ix, &way, mrn_bias(e->end));
	if (way.node[0]->n < SLOTS)
		put(mrn_leaf(way.node[0]), item_of(e));
	else
		split(ix, &way, e);
	__atomic_store_n(&ix->entries, ix->entries + 1, __ATOMIC_RELAXED);
	return 0;
}

/* ----------------------------------------------------------------------------------------------- erase */

/* An entry with this end has gone from the leaf. */
static void lower(struct mrn_index *ix, const struct way *way, int64_t end)
{
	int64_t max = MRN_KEY_MAX;

	for (unsigned int l = 1; l <= ix->height; l++) {
		struct mrn_inner *in = mrn_inner(way->node[l]);
		int64_t *old = &in->max[way->at[l - 1]];

		if (*old != end)
			return;
		if (max == MRN_KEY_MAX)
			max = greatest(mrn_leaf(way->node[0])->end);
		if (max == end)
			return;
		__atomic_store_n(old, max, __ATOMIC_RELEASE);
		max = greatest(in->max);
	}
}

/* Puts what is left in two neighbours into one leaf. */
static void merge(struct mrn_index *ix, struct way *way)
{
	struct mrn_leaf *leaf = mrn_leaf(way->node[0]), *next, *both;
	struct mrn_inner *in = mrn_inner(way->node[1]);
	struct child new;

	if (way->at[0] + 1 == in->node.n) {
		if (!way->at[0]--)
			return;
	}
	leaf = mrn_leaf(in->child[way->at[0]]);
	next = mrn_leaf(in->child[way->at[0] + 1]);
	if (leaf->node.n + next->node.n > SLOTS / 2)
		return;
	both = new_leaf(ix);
	for (unsigned int i = 0; i < SLOTS; i++) {
		if (leaf->entry[i])
			put(both, item_at(leaf, i));
		if (next->entry[i])
			put(both, item_at(next, i));
	}
	new = (struct child){.max = greatest(both->end), .node = &both->node};
	replace(ix, way, 0, 2, &new, 1);
	mrn_pool_retire(ix, &leaf->node);
	mrn_pool_retire(ix, &next->node);
}

/* Without memory for the change, a leaf stays that has little in it, or nothing. */
static void tidy(struct mrn_index *ix, struct way *way)
{
	unsigned int n = way->node[0]->n;

	if (!n && reserve(ix)) {
		replace(ix, way, 0, 1, NULL, 0);
		mrn_pool_retire(ix, way->node[0]);
	} else if (n && n <= SLOTS / 4 && !(n & (n - 1)) && ix->height && reserve(ix)) {
		/* Seldom: the neighbour is far away. */
		merge(ix, way);
	}
}

void mrn_index_erase(struct mrn_index *ix, struct mrn_index_entry *e)
{
	struct way way;

	find_way(ix, e, &way);
	clear(mrn_leaf(way.node[0]), e);
	/* Release: who has seen this count does not find the entry; who finds it has seen a lower one. */
	__atomic_store_n(&ix->erased, ix->erased + 1, __ATOMIC_RELEASE);
	lower(ix, &way, mrn_bias(e->end));
	mrn_filter_drop(&ix->filter, e->start, e->end);
	__atomic_store_n(&ix->entries, ix->entries - 1, __ATOMIC_RELAXED);
	tidy(ix, &way);
}
