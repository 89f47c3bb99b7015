/* SPDX-License-Identifier: BSD-3-Clause */
#include "core/itree.h"

#include <stddef.h>

#include "os/event_path.h"

/* An AVL tree of 2^64 nodes is at most 1.44 * 64 high. */
#define MAX_HEIGHT 93

static bool before(uintptr_t start_a, uint64_t id_a, uintptr_t start_b, uint64_t id_b)
{
	return start_a < start_b || (start_a == start_b && id_a < id_b);
}

static int height(const struct mrn_itree_node *n)
{
	return n ? n->height : 0;
}

static int balance(const struct mrn_itree_node *n)
{
	return height(n->child[0]) - height(n->child[1]);
}

static void update(struct mrn_itree_node *n)
{
	n->height = 1;
	n->max_end = n->end;
	for (int side = 0; side < 2; side++) {
		const struct mrn_itree_node *c = n->child[side];

		if (!c)
			continue;
		if (n->height < c->height + 1)
			n->height = c->height + 1;
		if (n->max_end < c->max_end)
			n->max_end = c->max_end;
	}
}

/* Lifts the child on the given side over *link. */
static void rotate(struct mrn_itree_node **link, int side)
{
	struct mrn_itree_node *n = *link, *c = n->child[side];

	n->child[side] = c->child[!side];
	c->child[!side] = n;
	*link = c;
	update(n);
	update(c);
}

static void rebalance(struct mrn_itree_node **link)
{
	struct mrn_itree_node *n = *link;
	int heavy;

	update(n);
	if (balance(n) <= 1 && balance(n) >= -1)
		return;
	heavy = balance(n) < 0;
	if (height(n->child[heavy]->child[!heavy]) > height(n->child[heavy]->child[heavy]))
		rotate(&n->child[heavy], !heavy);
	rotate(link, heavy);
}

void mrn_itree_insert(struct mrn_itree_node **root, struct mrn_itree_node *node)
{
	struct mrn_itree_node **path[MAX_HEIGHT], **link = root;
	int depth = 0;

	while (*link) {
		path[depth++] = link;
		link = &(*link)->child[!before(node->start, node->id, (*link)->start, (*link)->id)];
	}
	node->child[0] = node->child[1] = NULL;
	update(node);
	*link = node;
	while (depth)
		rebalance(path[--depth]);
}

void mrn_itree_erase(struct mrn_itree_node **root, struct mrn_itree_node *node)
{
	struct mrn_itree_node **path[MAX_HEIGHT], **link = root;
	int depth = 0;

	while (*link != node) {
		path[depth++] = link;
		link = &(*link)->child[!before(node->start, node->id, (*link)->start, (*link)->id)];
	}
	if (!node->child[0] || !node->child[1]) {
		*link = node->child[!node->child[0]];
	} else {
		/* The next node in order takes its place; links into it on the path move along. */
		int place = depth;
		struct mrn_itree_node **below, *next;

		path[depth++] = link;
		below = &node->child[1];
		while ((*below)->child[0]) {
			path[depth++] = below;
			below = &(*below)->child[0];
		}
		next = *below;
		*below = next->child[1];
		next->child[0] = node->child[0];
		next->child[1] = node->child[1];
		*link = next;
		if (depth > place + 1)
			path[place + 1] = &next->child[1];
	}
	while (depth)
		rebalance(path[--depth]);
}

struct mrn_itree_node *mrn_itree_next(struct mrn_itree_node *n, uintptr_t start, uintptr_t end,
				      struct mrn_itree_cursor cursor)
{
	while (n && n->max_end > start) {
		if (before(cursor.start, cursor.id, n->start, n->id)) {
			struct mrn_itree_node *found =
				mrn_itree_next(n->child[0], start, end, cursor);

			if (found)
				return found;
			if (n->start >= end)
				return NULL;
			if (n->end > start)
				return n;
		}
		n = n->child[1];
	}
	return NULL;
}

bool mrn_itree_is_valid(const struct mrn_itree_node *n)
{
	uintptr_t max_end;
	int h;

	if (!n)
		return true;
	max_end = n->end;
	h = 0;
	for (int side = 0; side < 2; side++) {
		const struct mrn_itree_node *c = n->child[side];

		if (!c)
			continue;
		if (!mrn_itree_is_valid(c))
			return false;
		if (before(c->start, c->id, n->start, n->id) != (side == 0))
			return false;
		if (max_end < c->max_end)
			max_end = c->max_end;
		if (h < c->height)
			h = c->height;
	}
	return n->start < n->end && n->max_end == max_end && n->height == h + 1 &&
	       balance(n) <= 1 && balance(n) >= -1;
}
