/* SPDX-License-Identifier: BSD-3-Clause */
/* The writer's side of inner nodes: the way down, and replacing nodes. */
#include "index/write.h"

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

static int64_t greatest(const int64_t *number)
{
	int64_t max = MRN_KEY_MIN;

	for (unsigned int i = 0; i < SLOTS; i++)
		max = number[i] > max ? number[i] : max;
	return max;
}

void mrn_index_set_max(struct mrn_inner *in, unsigned int i, int64_t max)
{
	in->max[i] = max;
	/* Release: raised before the entry appears, lowered after it has gone. */
	__atomic_store_n(&in->high[i], mrn_high_of(&in->node, max), __ATOMIC_RELEASE);
}

static struct mrn_index_child new_inner(struct mrn_index *ix, unsigned int level,
					const struct mrn_index_child *child, unsigned int n)
{
	struct mrn_inner *in = mrn_inner(mrn_pool_take(ix, 1));
	int64_t max = MRN_KEY_MIN;

	in->node.level = level;
	in->node.n = n;
	/* The first child's key is not used. */
	mrn_set_scale(&in->node, (uint64_t)mrn_unbias(child[n > 1].key) >> MRN_FILTER_PAGE,
		      (uint64_t)mrn_unbias(child[n - 1].key) >> MRN_FILTER_PAGE);
	for (unsigned int i = 0; i < SLOTS; i++) {
		in->key[i] = i < n ? child[i].key : MRN_KEY_MAX;
		in->id[i] = i < n ? child[i].id : UINT64_MAX;
		in->child[i] = i < n ? child[i].node : NULL;
		in->low[i] = i < n ? mrn_low_of(&in->node, child[i].key) : MRN_NOT_FIRST;
		mrn_index_set_max(in, i, i < n ? child[i].max : MRN_KEY_MIN);
		max = in->max[i] > max ? in->max[i] : max;
	}
	/* The first child has everything before the second, whatever the node's own key is. */
	in->key[0] = MRN_KEY_MIN;
	in->low[0] = -MRN_FAR;
	in->id[0] = 0;
	return (struct mrn_index_child){child[0].key, max, child[0].id, &in->node};
}

void mrn_index_adjust(struct mrn_index *ix, const struct mrn_index_way *way, unsigned int level)
{
	for (unsigned int l = level; l < ix->height; l++) {
		int64_t max = l ? greatest(mrn_inner(way->node[l])->max) : way->node[0]->max;
		struct mrn_inner *in = mrn_inner(way->node[l + 1]);

		if (in->max[way->at[l]] == max)
			return;
		mrn_index_set_max(in, way->at[l], max);
	}
}

/* Readers see the old child or the new one, and a maximum that covers both. */
static void replace_in_place(struct mrn_inner *in, unsigned int i, const struct mrn_index_child *c)
{
	if (c->max > in->max[i])
		mrn_index_set_max(in, i, c->max);
	/* Release: pairs with next_node's acquire. */
	__atomic_store_n(&in->child[i], c->node, __ATOMIC_RELEASE);
	if (c->max < in->max[i])
		mrn_index_set_max(in, i, c->max);
}

void mrn_index_set_root(struct mrn_index *ix, const struct mrn_index_child *c, unsigned int n)
{
	struct mrn_index_node *root = n ? c[0].node : NULL;

	if (n > 1)
		root = new_inner(ix, root->level + 1, c, n).node;
	/* A root with one child is not needed. */
	while (root && root->level && root->n == 1) {
		mrn_pool_retire(ix, root);
		root = mrn_inner(root)->child[0];
	}
	ix->height = root ? root->level : 0;
	__atomic_store_n(&ix->root, root, __ATOMIC_RELEASE);
}

void mrn_index_replace(struct mrn_index *ix, const struct mrn_index_way *way, unsigned int level,
		       unsigned int old, const struct mrn_index_child *new, unsigned int n)
{
	unsigned int at = way->at[level], all = 0;
	struct mrn_index_child list[SLOTS + 1], above[2];
	struct mrn_inner *in;

	if (level == ix->height) {
		mrn_index_set_root(ix, new, n);
		return;
	}
	in = mrn_inner(way->node[level + 1]);
	if (old == 1 && n == 1) {
		replace_in_place(in, at, new);
		mrn_index_adjust(ix, way, level + 1);
		return;
	}
	for (unsigned int i = 0; i < in->node.n; i++) {
		for (unsigned int k = 0; i == at && k < n; k++) {
			list[all] = new[k];
			/* The first new child takes over the old one's key. */
			if (!k) {
				list[all].key = in->key[at];
				list[all].id = in->id[at];
			}
			all++;
		}
		if (i < at || i >= at + old)
			list[all++] = (struct mrn_index_child){in->key[i], in->max[i], in->id[i],
							       in->child[i]};
	}
	mrn_pool_retire(ix, &in->node);
	n = 0;
	if (all > SLOTS) {
		/* Inserting in ascending order leaves full nodes behind. */
		unsigned int half = at + 1 == SLOTS ? SLOTS - 1 : SLOTS / 2;

		above[n++] = new_inner(ix, level + 1, list, half);
		above[n++] = new_inner(ix, level + 1, list + half, all - half);
	} else if (all) {
		above[n++] = new_inner(ix, level + 1, list, all);
	}
	mrn_index_replace(ix, way, level + 1, 1, above, n);
}

bool mrn_index_reserve(struct mrn_index *ix)
{
	return mrn_pool_reserve(ix, 0, 2) && mrn_pool_reserve(ix, 1, 2 * ix->height + 1);
}
