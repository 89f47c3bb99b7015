/* SPDX-License-Identifier: BSD-3-Clause */
/* The interval tree, against a plain list of ranges. */
#include "core/itree.h"

#include "core_fixture.h"

enum { NODES = 300 };

struct model {
	struct mrn_itree_node *root;
	struct mrn_itree_node node[NODES];
	bool in[NODES];
	uint64_t id;
	struct test_rand seed;
	uintptr_t span, most; /* starts lie below span; no range is longer than most */
};

static bool precedes(const struct mrn_itree_node *a, uintptr_t start, uint64_t id)
{
	return a->start < start || (a->start == start && a->id < id);
}

/* The next one in order after the cursor that overlaps, by looking at all of them. */
static struct mrn_itree_node *plain_next(struct model *m, uintptr_t start, uintptr_t end,
					 struct mrn_itree_cursor c)
{
	struct mrn_itree_node *best = NULL;

	for (int i = 0; i < NODES; i++) {
		struct mrn_itree_node *n = &m->node[i];

		if (!m->in[i] || n->start >= end || n->end <= start)
			continue;
		if (precedes(n, c.start, c.id) || (n->start == c.start && n->id == c.id))
			continue;
		if (!best || precedes(n, best->start, best->id))
			best = n;
	}
	return best;
}

static void toggle(struct model *m, unsigned int k)
{
	struct mrn_itree_node *n = &m->node[k];

	if (m->in[k]) {
		mrn_itree_erase(&m->root, n);
		memset(n, 0xa5, sizeof(*n));
	} else {
		memset(n, 0xa5, sizeof(*n));
		n->start = below(&m->seed, m->span);
		n->end = n->start + 1 + below(&m->seed, m->most);
		n->id = ++m->id;
		mrn_itree_insert(&m->root, n);
	}
	m->in[k] = !m->in[k];
}

/* A whole walk; sometimes the nodes come and go under it. */
static void walk(struct model *m, bool change)
{
	struct mrn_itree_cursor c = MRN_ITREE_FIRST;
	uintptr_t start = below(&m->seed, m->span);
	uintptr_t end = start + 1 + below(&m->seed, m->most);

	for (;;) {
		struct mrn_itree_node *n = mrn_itree_next(m->root, start, end, c);

		CHECK(n == plain_next(m, start, end, c));
		if (!n)
			return;
		c = (struct mrn_itree_cursor){n->start, n->id};
		if (change)
			toggle(m, below(&m->seed, NODES));
	}
}

static void fuzz(uint64_t stream, uintptr_t span, uintptr_t most, unsigned int rounds)
{
	static struct model m;

	memset(&m, 0, sizeof(m));
	m.seed = rand_stream(stream);
	m.span = span;
	m.most = most;
	CHECK(mrn_itree_is_valid(m.root));
	CHECK(!mrn_itree_next(m.root, 0, UINTPTR_MAX, MRN_ITREE_FIRST));
	for (unsigned int i = 0; i < rounds; i++) {
		toggle(&m, below(&m.seed, NODES));
		CHECK(mrn_itree_is_valid(m.root));
		if (i % 8 == 0)
			walk(&m, i % 16 == 0);
	}
	for (unsigned int k = 0; k < NODES; k++) {
		if (m.in[k])
			toggle(&m, k);
		CHECK(mrn_itree_is_valid(m.root));
	}
	CHECK(!m.root);
}

TEST(index_fuzz_against_a_plain_list)
{
	fuzz(1, 1000, 50, ROUNDS(10000));
	fuzz(2, 1000, 1000, ROUNDS(4000));   /* nearly everything overlaps */
	fuzz(3, 4, 3, ROUNDS(4000));	     /* nearly every start is equal */
	fuzz(4, 1u << 30, 10, ROUNDS(4000)); /* nearly nothing overlaps */
}

/* In order and in reverse: the worst cases of a tree without balance. */
TEST(index_stays_flat)
{
	enum { N = 1 << 14 };
	struct mrn_itree_node *node = calloc(N, sizeof(*node)), *root = NULL;

	for (int reverse = 0; reverse < 2; reverse++) {
		for (unsigned int i = 0; i < N; i++) {
			struct mrn_itree_node *n = &node[reverse ? N - 1 - i : i];

			n->start = 10 * (uintptr_t)(n - node);
			n->end = n->start + 15;
			n->id = i + 1;
			mrn_itree_insert(&root, n);
		}
		CHECK(mrn_itree_is_valid(root));
		/* 1.44 * log2(N) */
		CHECK(root->height <= 21);
		for (unsigned int i = 0; i < N; i += 2)
			mrn_itree_erase(&root, &node[i]);
		CHECK(mrn_itree_is_valid(root));
		for (unsigned int i = 1; i < N; i += 2)
			mrn_itree_erase(&root, &node[i]);
		CHECK(!root);
	}
	free(node);
}

/* The top of the address space, where start + length is not a number. */
TEST(index_ends_of_the_address_space)
{
	struct mrn_itree_node *root = NULL;
	struct mrn_itree_node n[3] = {
		{.start = 0, .end = 1, .id = 1},
		{.start = 0, .end = UINTPTR_MAX, .id = 2},
		{.start = UINTPTR_MAX - 1, .end = UINTPTR_MAX, .id = 3},
	};
	struct mrn_itree_cursor c = MRN_ITREE_FIRST;

	for (int i = 0; i < 3; i++)
		mrn_itree_insert(&root, &n[i]);
	CHECK(mrn_itree_is_valid(root));
	for (int i = 0; i < 3; i++) {
		struct mrn_itree_node *found = mrn_itree_next(root, 0, UINTPTR_MAX, c);

		CHECK(found == &n[i]);
		c = (struct mrn_itree_cursor){found->start, found->id};
	}
	CHECK(!mrn_itree_next(root, 0, UINTPTR_MAX, c));
	CHECK(mrn_itree_next(root, 1, 2, MRN_ITREE_FIRST) == &n[1]);
}
