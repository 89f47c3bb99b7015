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

void mrn_index_find(const struct mrn_index *ix, uintptr_t start, uint64_t id,
		    struct mrn_index_way *way)
{
	struct mrn_index_node *node = ix->root;

	for (unsigned int l = ix->height; l; l--) {
		unsigned int i = mrn_child_of(mrn_inner(node), mrn_bias(start), id);

		way->node[l] = node;
		way->at[l - 1] = i;
		node = mrn_inner(node)->child[i];
		mrn_node_prefetch(node);
	}
	way->node[0] = node;
	mrn_filter_prefetch(&ix->filter, start);
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

static int64_t greatest_in(const struct mrn_leaf *leaf)
{
	int16_t last = MRN_NOT_LAST;

	for (unsigned int i = 0; i < SLOTS; i++)
		last = leaf->last[i] > last ? leaf->last[i] : last;
	return mrn_max_of(&leaf->node, last);
}

/* For entries that start in between. */
static struct mrn_leaf *new_leaf(struct mrn_index *ix, uintptr_t first, uintptr_t last)
{
	struct mrn_leaf *leaf = mrn_leaf(mrn_pool_take(ix, 0));

	leaf->node.level = leaf->node.n = leaf->node.used = leaf->node.alone = 0;
	mrn_set_scale(&leaf->node, (uint64_t)first >> MRN_FILTER_PAGE,
		      (uint64_t)last >> MRN_FILTER_PAGE);
	leaf->node.max = MRN_KEY_MIN;
	for (unsigned int i = 0; i < SLOTS; i++) {
		leaf->first[i] = MRN_NOT_FIRST;
		leaf->last[i] = MRN_NOT_LAST;
		leaf->entry[i] = NULL;
	}
	return leaf;
}

static void set_max(struct mrn_inner *in, unsigned int i, int64_t max)
{
	in->max[i] = max;
	/* Release: raised before the entry is there, lowered after it has gone. */
	__atomic_store_n(&in->high[i], mrn_high_of(&in->node, max), __ATOMIC_RELEASE);
}

static struct child new_inner(struct mrn_index *ix, unsigned int level, const struct child *child,
			      unsigned int n)
{
	struct mrn_inner *in = mrn_inner(mrn_pool_take(ix, 1));
	int64_t max = MRN_KEY_MIN;

	in->node.level = level;
	in->node.n = n;
	/* Its first key is none. */
	mrn_set_scale(&in->node, (uint64_t)mrn_unbias(child[n > 1].key) >> MRN_FILTER_PAGE,
		      (uint64_t)mrn_unbias(child[n - 1].key) >> MRN_FILTER_PAGE);
	for (unsigned int i = 0; i < SLOTS; i++) {
		in->key[i] = i < n ? child[i].key : MRN_KEY_MAX;
		in->id[i] = i < n ? child[i].id : UINT64_MAX;
		in->child[i] = i < n ? child[i].node : NULL;
		in->low[i] = i < n ? mrn_low_of(&in->node, child[i].key) : MRN_NOT_FIRST;
		set_max(in, i, i < n ? child[i].max : MRN_KEY_MIN);
		max = in->max[i] > max ? in->max[i] : max;
	}
	/* The first one has everything before the second, whatever the node's own key is. */
	in->key[0] = MRN_KEY_MIN;
	in->low[0] = -MRN_FAR;
	in->id[0] = 0;
	return (struct child){child[0].key, max, child[0].id, &in->node};
}

/* -------------------------------------------------------------------------------------- replacing nodes */

/* The node on this level has another greatest end: its parents are told, as far up as it makes a difference. */
static void adjust(struct mrn_index *ix, const struct mrn_index_way *way, unsigned int level)
{
	for (unsigned int l = level; l < ix->height; l++) {
		int64_t max = l ? greatest(mrn_inner(way->node[l])->max) : way->node[0]->max;
		struct mrn_inner *in = mrn_inner(way->node[l + 1]);

		if (in->max[way->at[l]] == max)
			return;
		set_max(in, way->at[l], max);
	}
}

/* Readers see the old one or the new one, and a maximum that is enough for both. */
static void replace_in_place(struct mrn_inner *in, unsigned int i, const struct child *c)
{
	if (c->max > in->max[i])
		set_max(in, i, c->max);
	/* Release: pairs with next_node's acquire. */
	__atomic_store_n(&in->child[i], c->node, __ATOMIC_RELEASE);
	if (c->max < in->max[i])
		set_max(in, i, c->max);
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
static void replace(struct mrn_index *ix, const struct mrn_index_way *way, unsigned int level,
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
		adjust(ix, way, level + 1);
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

static int64_t max_with(const struct mrn_leaf *leaf, const struct mrn_index_entry *e)
{
	return mrn_max_of(&leaf->node, mrn_near(&leaf->node, mrn_pages_of(e->start, e->end).last));
}

/* Its parents know of an entry's end already, and its place says whether it is alone. */
static void put(struct mrn_leaf *leaf, struct mrn_index_entry *e)
{
	unsigned int i = (unsigned int)__builtin_ctz(~leaf->node.used);
	struct mrn_pages p = mrn_pages_of(e->start, e->end);
	bool alone = e->place & MRN_PLACE_ALONE;
	int64_t max = max_with(leaf, e);

	/* Atomic: who is about to erase it prefetches by this, without a lock. */
	__atomic_store_n(&e->place, mrn_place(leaf, i, alone), __ATOMIC_RELAXED);
	/* Releases: of a slot's states a reader sees none before one that he has seen. */
	__atomic_store_n(&leaf->first[i], mrn_near(&leaf->node, p.first), __ATOMIC_RELEASE);
	__atomic_store_n(&leaf->last[i], mrn_near(&leaf->node, p.last), __ATOMIC_RELEASE);
	__atomic_store_n(&leaf->entry[i], e, __ATOMIC_RELEASE);
	leaf->node.used |= UINT32_C(1) << i;
	leaf->node.alone |= (uint32_t)alone << i;
	leaf->node.n++;
	leaf->node.max = max > leaf->node.max ? max : leaf->node.max;
}

static void clear(struct mrn_leaf *leaf, unsigned int i)
{
	__atomic_store_n(&leaf->entry[i], NULL, __ATOMIC_RELEASE);
	__atomic_store_n(&leaf->last[i], MRN_NOT_LAST, __ATOMIC_RELEASE);
	__atomic_store_n(&leaf->first[i], MRN_NOT_FIRST, __ATOMIC_RELEASE);
	leaf->node.used &= ~(UINT32_C(1) << i);
	leaf->node.alone &= ~(UINT32_C(1) << i);
	leaf->node.n--;
}

static bool precedes(const struct mrn_index_entry *a, const struct mrn_index_entry *b)
{
	return a->start < b->start || (a->start == b->start && a->id < b->id);
}

/* The entries of a full leaf and one more, in order. Where the one is. */
static unsigned int sort(const struct mrn_leaf *leaf, struct mrn_index_entry *e,
			 struct mrn_index_entry **list)
{
	unsigned int at = 0;

	/* Each is far away, and its place is going to be written anyway. */
	for (unsigned int i = 0; i < SLOTS; i++)
		__builtin_prefetch(&leaf->entry[i]->start, 1);
	for (unsigned int i = 0; i <= SLOTS; i++) {
		struct mrn_index_entry *x = i < SLOTS ? leaf->entry[i] : e;

		for (at = i; at && precedes(x, list[at - 1]); at--)
			list[at] = list[at - 1];
		list[at] = x;
	}
	return at;
}

static uintptr_t first_start(const struct mrn_leaf *leaf, uintptr_t first)
{
	for (unsigned int i = 0; i < SLOTS; i++)
		if (leaf->entry[i] && leaf->entry[i]->start < first)
			first = leaf->entry[i]->start;
	return first;
}

static uintptr_t last_start(const struct mrn_leaf *leaf, uintptr_t last)
{
	for (unsigned int i = 0; i < SLOTS; i++)
		if (leaf->entry[i] && leaf->entry[i]->start > last)
			last = leaf->entry[i]->start;
	return last;
}

/* A copy of a leaf in larger units: an entry is to come that is too far for it. Seldom, with small leaves. */
static void rescale(struct mrn_index *ix, struct mrn_index_way *way, uintptr_t start)
{
	struct mrn_leaf *old = mrn_leaf(way->node[0]);
	struct mrn_leaf *leaf = new_leaf(ix, first_start(old, start), last_start(old, start));
	struct child new;

	for (unsigned int i = 0; i < SLOTS; i++)
		if (old->entry[i])
			put(leaf, old->entry[i]);
	new = (struct child){.max = leaf->node.max, .node = &leaf->node};
	replace(ix, way, 0, 1, &new, 1);
	mrn_pool_retire(ix, &old->node);
	way->node[0] = &leaf->node;
}

static void split(struct mrn_index *ix, const struct mrn_index_way *way, struct mrn_index_entry *e)
{
	struct mrn_index_entry *list[SLOTS + 1];
	struct mrn_leaf *old = mrn_leaf(way->node[0]), *half[2];
	unsigned int at = sort(old, e, list), left = SLOTS / 2;
	struct child new[2];

	/* Whoever inserts in ascending or in descending order leaves full leaves behind. */
	if (at == SLOTS || !at)
		left = at ? SLOTS : 1;
	half[0] = new_leaf(ix, list[0]->start, list[left - 1]->start);
	half[1] = new_leaf(ix, list[left]->start, list[SLOTS]->start);
	for (unsigned int i = 0; i <= SLOTS; i++)
		put(half[i >= left], list[i]);
	new[0] = (struct child){.max = half[0]->node.max, .node = &half[0]->node};
	new[1] = (struct child){mrn_bias(list[left]->start), half[1]->node.max, list[left]->id,
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

/* The pages of a slot; of one that knows its entry's only roughly, the entry's. */
static struct mrn_pages pages_at(const struct mrn_leaf *leaf, unsigned int i)
{
	int16_t first = leaf->first[i], last = leaf->last[i];

	if (leaf->node.shift || first == -MRN_FAR || last == MRN_FAR || first == MRN_FAR ||
	    last == -MRN_FAR)
		return mrn_pages_of(leaf->entry[i]->start, leaf->entry[i]->end);
	return (struct mrn_pages){leaf->node.base + (uint64_t)(int64_t)first,
				  leaf->node.base + (uint64_t)(int64_t)last};
}

static void fill_table(struct mrn_filter_table *t, struct mrn_index_node *node)
{
	if (!node->level) {
		if (node->shift)
			for (unsigned int i = 0; i < SLOTS; i++)
				__builtin_prefetch(mrn_leaf(node)->entry[i]);
		for (uint32_t used = node->used; used; used &= used - 1)
			mrn_filter_table_add(t,
					     pages_at(mrn_leaf(node),
						      (unsigned int)__builtin_ctz(used)),
					     node->alone >> __builtin_ctz(used) & 1);
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

static void raise(struct mrn_index *ix, const struct mrn_index_way *way, int64_t to)
{
	for (unsigned int l = ix->height; l; l--) {
		struct mrn_inner *in = mrn_inner(way->node[l]);
		unsigned int i = way->at[l - 1];

		/* high is near at hand, max may be far away. */
		if (in->high[i] <= mrn_high_of(&in->node, to) && in->max[i] < to)
			set_max(in, i, to);
	}
}

static bool is_near(struct mrn_pages a, struct mrn_pages b)
{
	return a.first <= b.last + MRN_FILTER_NEAR && b.first <= a.last + MRN_FILTER_NEAR;
}

/* As far as its leaf can tell; exactly, as one that is not alone costs every look at the filter another line. */
static bool is_alone(const struct mrn_leaf *leaf, struct mrn_pages p)
{
	uint64_t from = p.first < MRN_FILTER_NEAR ? 0 : p.first - MRN_FILTER_NEAR;
	uint32_t mask = mrn_vector_within(leaf->first, leaf->last, mrn_near(&leaf->node, from),
					  mrn_near(&leaf->node, p.last + MRN_FILTER_NEAR));

	for (; mask; mask &= mask - 1)
		if (is_near(pages_at(leaf, (unsigned int)__builtin_ctz(mask)), p))
			return false;
	return true;
}

/* The first leaf of all, with no entry. */
static bool make_root(struct mrn_index *ix, uintptr_t start, struct mrn_index_way *way)
{
	if (!reserve(ix))
		return false;
	way->node[0] = &new_leaf(ix, start, start)->node;
	set_root(ix, &(struct child){.node = way->node[0]}, 1);
	return true;
}

static bool is_far(const struct mrn_leaf *leaf, uint64_t page)
{
	int16_t near = mrn_near(&leaf->node, page);

	return near == MRN_FAR || near == -MRN_FAR;
}

int mrn_index_insert_at(struct mrn_index *ix, struct mrn_index_entry *e, struct mrn_index_way *way)
{
	struct mrn_pages p = mrn_pages_of(e->start, e->end);
	struct mrn_leaf *leaf;
	bool alone, rescales;

	if (!make_filter(ix) || (!ix->root && !make_root(ix, e->start, way)))
		return -ENOMEM;
	leaf = mrn_leaf(way->node[0]);
	rescales = leaf->node.n < SLOTS && is_far(leaf, p.first);
	if ((leaf->node.n == SLOTS || rescales) && !reserve(ix))
		return -ENOMEM;
	if (rescales)
		rescale(ix, way, e->start);
	leaf = mrn_leaf(way->node[0]);
	alone = is_alone(leaf, p);
	e->place = alone ? MRN_PLACE_ALONE : 0;
	mrn_filter_add(&ix->filter, p, alone);
	raise(ix, way, max_with(leaf, e));
	if (leaf->node.n < SLOTS)
		put(leaf, e);
	else
		split(ix, way, e);
	__atomic_store_n(&ix->entries, ix->entries + 1, __ATOMIC_RELAXED);
	return 0;
}

int mrn_index_insert(struct mrn_index *ix, struct mrn_index_entry *e)
{
	struct mrn_index_way way;

	mrn_index_find(ix, e->start, e->id, &way);
	return mrn_index_insert_at(ix, e, &way);
}

/* ----------------------------------------------------------------------------------------------- erase */

/* Puts what is left in two neighbours into one leaf. Either may be empty, if there was no memory to tidy it. */
static void merge(struct mrn_index *ix, struct mrn_index_way *way)
{
	struct mrn_inner *in = mrn_inner(way->node[1]);
	struct mrn_leaf *leaf, *next, *both;
	struct child new;

	if (way->at[0] + 1 == in->node.n) {
		if (!way->at[0])
			return;
		way->at[0]--;
	}
	leaf = mrn_leaf(in->child[way->at[0]]);
	next = mrn_leaf(in->child[way->at[0] + 1]);
	if (leaf->node.n + next->node.n > SLOTS / 2)
		return;
	both = new_leaf(ix, first_start(next, first_start(leaf, UINTPTR_MAX)),
			last_start(leaf, last_start(next, 0)));
	for (unsigned int i = 0; i < SLOTS; i++) {
		if (leaf->entry[i])
			put(both, leaf->entry[i]);
		if (next->entry[i])
			put(both, next->entry[i]);
	}
	new = (struct child){.max = both->node.max, .node = &both->node};
	replace(ix, way, 0, 2, &new, 1);
	mrn_pool_retire(ix, &leaf->node);
	mrn_pool_retire(ix, &next->node);
}

/* Without memory for the change, a leaf stays that has little in it, or nothing. */
static void tidy(struct mrn_index *ix, struct mrn_index_way *way)
{
	if (!reserve(ix))
		return;
	if (way->node[0]->n) {
		merge(ix, way);
	} else {
		replace(ix, way, 0, 1, NULL, 0);
		mrn_pool_retire(ix, way->node[0]);
	}
}

/* Does a leaf with n entries left want to be tidied? Seldom: its neighbour is far away. */
static bool is_sparse(const struct mrn_index *ix, unsigned int n)
{
	return !n || (n <= SLOTS / 4 && !(n & (n - 1)) && ix->height);
}

void mrn_index_prefetch_erase(const struct mrn_index *ix, const struct mrn_index_entry *e)
{
	uintptr_t place = __atomic_load_n(&e->place, __ATOMIC_RELAXED);
	const struct mrn_leaf *leaf = mrn_place_leaf(place);
	unsigned int i = mrn_place_slot(place);

	__builtin_prefetch(&leaf->node, 1);
	__builtin_prefetch(&leaf->first[i], 1);
	__builtin_prefetch(&leaf->last[i], 1);
	__builtin_prefetch(&leaf->entry[i], 1);
	mrn_filter_prefetch(&ix->filter, e->start);
}

void mrn_index_erase(struct mrn_index *ix, struct mrn_index_entry *e)
{
	struct mrn_leaf *leaf = mrn_place_leaf(e->place);
	struct mrn_index_way way;
	bool lowers;

	clear(leaf, mrn_place_slot(e->place));
	/* Release: who has seen this count does not find the entry; who finds it has seen a lower one. */
	__atomic_store_n(&ix->erased, ix->erased + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&ix->entries, ix->entries - 1, __ATOMIC_RELAXED);
	lowers = max_with(leaf, e) == leaf->node.max;
	if (lowers || is_sparse(ix, leaf->node.n)) {
		mrn_index_find(ix, e->start, e->id, &way);
		if (lowers) {
			leaf->node.max = greatest_in(leaf);
			adjust(ix, &way, 0);
		}
		if (is_sparse(ix, leaf->node.n))
			tidy(ix, &way);
	}
	mrn_filter_drop(&ix->filter, mrn_pages_of(e->start, e->end), e->place & MRN_PLACE_ALONE);
}
