/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/baseline/rbtree.h"

#define RED ((uintptr_t)1)

static struct baseline_node *parent_of(const struct baseline_node *n)
{
	return (struct baseline_node *)(n->parent_red & ~RED);
}

static bool is_red(const struct baseline_node *n)
{
	return n && (n->parent_red & RED);
}

static void paint_red(struct baseline_node *n)
{
	n->parent_red |= RED;
}

static void paint_black(struct baseline_node *n)
{
	n->parent_red &= ~RED;
}

/* Keeps n's colour. */
static void set_parent(struct baseline_node *n, const struct baseline_node *parent)
{
	n->parent_red = (uintptr_t)parent | (n->parent_red & RED);
}

/* Puts new, which may be NULL, in the place of old below parent or at the root. */
static void replace_child(struct baseline_tree *tree, struct baseline_node *parent,
			  const struct baseline_node *old, struct baseline_node *new)
{
	if (!parent)
		tree->root = new;
	else
		parent->child[parent->child[1] == old] = new;
}

/* ------------------------------------------------------------------------------------- the maximum */

static uintptr_t max_end_of(const struct baseline_node *n)
{
	uintptr_t max = n->end;

	if (n->child[0] && n->child[0]->max_end > max)
		max = n->child[0]->max_end;
	if (n->child[1] && n->child[1]->max_end > max)
		max = n->child[1]->max_end;
	return max;
}

/* Updates max_end upwards from n, as far as it changes, but not at stop. */
static void propagate(struct baseline_node *n, const struct baseline_node *stop)
{
	for (; n != stop; n = parent_of(n)) {
		uintptr_t max = max_end_of(n);

		if (n->max_end == max)
			break;
		n->max_end = max;
	}
}

/* Lifts n's child on the given side over n. Nodes keep their colours. */
static void rotate(struct baseline_tree *tree, struct baseline_node *n, int side)
{
	struct baseline_node *c = n->child[side], *parent = parent_of(n);

	n->child[side] = c->child[!side];
	if (n->child[side])
		set_parent(n->child[side], n);
	c->child[!side] = n;
	set_parent(c, parent);
	replace_child(tree, parent, n, c);
	set_parent(n, c);
	c->max_end = n->max_end;
	n->max_end = max_end_of(n);
}

/* ---------------------------------------------------------------------------------- insert and erase */

/* n is red, and its parent may be. */
static void settle_red(struct baseline_tree *tree, struct baseline_node *n)
{
	struct baseline_node *p;

	while (is_red(p = parent_of(n))) {
		struct baseline_node *g = parent_of(p); /* exists: the root is black */
		int side = g->child[1] == p;

		if (is_red(g->child[!side])) {
			paint_black(g->child[!side]);
			paint_black(p);
			paint_red(g);
			n = g;
			continue;
		}
		if (p->child[!side] == n) {
			rotate(tree, p, !side);
			p = n;
		}
		rotate(tree, g, side);
		paint_black(p);
		paint_red(g);
		return;
	}
	if (!p)
		paint_black(n);
}

void baseline_tree_insert(struct baseline_tree *tree, struct baseline_node *node)
{
	struct baseline_node **link = &tree->root, *parent = NULL;
	uintptr_t start = node->start, end = node->end;
	bool first = true;

	while (*link) {
		parent = *link;
		if (parent->max_end < end)
			parent->max_end = end;
		if (start < parent->start) {
			link = &parent->child[0];
		} else {
			link = &parent->child[1];
			first = false;
		}
	}
	node->parent_red = (uintptr_t)parent | RED;
	node->child[0] = node->child[1] = NULL;
	node->max_end = end;
	*link = node;
	if (first)
		tree->first = node;
	settle_red(tree, node);
}

/* Paths through n, which may be NULL, have one black node too few below p. */
static void settle_black(struct baseline_tree *tree, struct baseline_node *n,
			 struct baseline_node *p)
{
	while (p && !is_red(n)) {
		int side = p->child[1] == n;
		struct baseline_node *s = p->child[!side]; /* exists: it has the black node */

		if (is_red(s)) {
			rotate(tree, p, !side);
			paint_black(s);
			paint_red(p);
			s = p->child[!side];
		}
		if (!is_red(s->child[0]) && !is_red(s->child[1])) {
			paint_red(s);
			n = p;
			p = parent_of(n);
			continue;
		}
		if (!is_red(s->child[!side])) {
			paint_black(s->child[side]);
			paint_red(s);
			rotate(tree, s, side);
			s = p->child[!side];
		}
		rotate(tree, p, !side);
		if (is_red(p))
			paint_red(s);
		else
			paint_black(s);
		paint_black(p);
		paint_black(s->child[!side]);
		return;
	}
	if (n)
		paint_black(n);
}

/* The next node in order, whether or not it overlaps. */
static struct baseline_node *successor(const struct baseline_node *n)
{
	struct baseline_node *p;

	if (n->child[1]) {
		for (p = n->child[1]; p->child[0];)
			p = p->child[0];
		return p;
	}
	for (p = parent_of(n); p && p->child[1] == n; p = parent_of(p))
		n = p;
	return p;
}

void baseline_tree_erase(struct baseline_tree *tree, struct baseline_node *node)
{
	struct baseline_node *child, *parent = parent_of(node);
	bool red = is_red(node);

	if (tree->first == node)
		tree->first = successor(node);
	if (node->child[0] && node->child[1]) {
		/* The successor, which has no left child, takes node's place. */
		struct baseline_node *s = successor(node), *above = parent_of(s);

		red = is_red(s);
		child = s->child[1];
		if (above == node) {
			above = s;
		} else {
			above->child[0] = child;
			if (child)
				set_parent(child, above);
			s->child[1] = node->child[1];
			set_parent(s->child[1], s);
		}
		s->child[0] = node->child[0];
		set_parent(s->child[0], s);
		s->parent_red = node->parent_red;
		replace_child(tree, parent, node, s);
		s->max_end = node->max_end;
		propagate(above, s);
		propagate(s, NULL);
		parent = above;
	} else {
		child = node->child[!node->child[0]];
		if (child)
			set_parent(child, parent);
		replace_child(tree, parent, node, child);
		propagate(parent, NULL);
	}
	if (!red)
		settle_black(tree, child, parent);
	baseline_node_unlink(node);
}

/* ----------------------------------------------------------------------------------------- overlaps */

/* The first overlapping node in n's subtree, which has an end after start. */
static struct baseline_node *search(const struct baseline_node *n, uintptr_t start, uintptr_t end)
{
	for (;;) {
		const struct baseline_node *left = n->child[0];

		/*
		 * The left subtree has an end after start: that node overlaps, or it begins too late, and so do all
		 * others.
		 */
		if (left && left->max_end > start) {
			n = left;
			continue;
		}
		if (n->start >= end)
			return NULL;
		if (n->end > start)
			return (struct baseline_node *)(uintptr_t)n;
		n = n->child[1];
		if (!n || n->max_end <= start)
			return NULL;
	}
}

struct baseline_node *baseline_tree_first(const struct baseline_tree *tree, uintptr_t start,
					  uintptr_t end)
{
	const struct baseline_node *root = tree->root;

	if (!root || root->max_end <= start || tree->first->start >= end)
		return NULL;
	return search(root, start, end);
}

struct baseline_node *baseline_tree_next(const struct baseline_node *node, uintptr_t start,
					 uintptr_t end)
{
	for (;;) {
		const struct baseline_node *below = node->child[1];

		if (below && below->max_end > start)
			return search(below, start, end);
		/* Up to the first ancestor that has node on its left. */
		do {
			below = node;
			node = parent_of(node);
			if (!node)
				return NULL;
		} while (node->child[1] == below);
		if (node->start >= end)
			return NULL;
		if (node->end > start)
			return (struct baseline_node *)(uintptr_t)node;
	}
}

/* ---------------------------------------------------------------------------------------- for tests */

/* The number of black nodes on each path down, or -1 if they differ. */
static int black_height(const struct baseline_node *n)
{
	int left, right;

	if (!n)
		return 0;
	left = black_height(n->child[0]);
	right = black_height(n->child[1]);
	if (left < 0 || left != right || n->start >= n->end || n->max_end != max_end_of(n))
		return -1;
	for (int side = 0; side < 2; side++) {
		const struct baseline_node *c = n->child[side];

		if (c && (parent_of(c) != n || (is_red(n) && is_red(c))))
			return -1;
	}
	return left + !is_red(n);
}

bool baseline_tree_is_valid(const struct baseline_tree *tree)
{
	const struct baseline_node *n = tree->root, *next;

	if (!n)
		return !tree->first;
	if (parent_of(n) || is_red(n) || black_height(n) < 0)
		return false;
	while (n->child[0])
		n = n->child[0];
	if (tree->first != n)
		return false;
	for (; (next = successor(n)); n = next)
		if (next->start < n->start)
			return false;
	return true;
}
