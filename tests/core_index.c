/* SPDX-License-Identifier: BSD-3-Clause */
/* The index, against a plain list of ranges. */
#include "core/index.h"

#include "core_fixture.h"

enum { NODES = 300 };

struct model {
	struct mrn_index index;
	struct mrn_index_entry node[NODES];
	bool in[NODES];
	uint64_t id;
	struct test_rand seed;
	uint64_t walked;
	uintptr_t span, most; /* starts lie below span; no range is longer than most */
};

static bool precedes(const struct mrn_index_entry *a, uintptr_t start, uint64_t id)
{
	return a->start < start || (a->start == start && a->id < id);
}

/* The next one in order after the cursor that overlaps, by looking at all of them. */
static struct mrn_index_entry *plain_next(struct model *m, uintptr_t start, uintptr_t end,
					 struct mrn_index_cursor c)
{
	struct mrn_index_entry *best = NULL;

	for (int i = 0; i < NODES; i++) {
		struct mrn_index_entry *n = &m->node[i];

		if (!m->in[i] || n->start >= end || n->end <= start)
			continue;
		if (precedes(n, c.start, c.id) || (n->start == c.start && n->id == c.id))
			continue;
		if (!best || precedes(n, best->start, best->id))
			best = n;
	}
	return best;
}

/* Nobody is reading but us. */
static void recycle(struct mrn_index *ix)
{
	struct mrn_index_retired r;

	mrn_index_take_retired(ix, &r);
	mrn_index_recycle(ix, &r);
}

static void toggle(struct model *m, unsigned int k)
{
	struct mrn_index_entry *n = &m->node[k];

	if (m->in[k]) {
		mrn_index_erase(&m->index, n);
		memset(n, 0xa5, sizeof(*n));
	} else {
		memset(n, 0xa5, sizeof(*n));
		n->start = below(&m->seed, m->span);
		n->end = n->start + 1 + below(&m->seed, m->most);
		n->id = ++m->id;
		CHECK_EQ(mrn_index_insert(&m->index, n), 0);
	}
	m->in[k] = !m->in[k];
	recycle(&m->index);
}

/* A whole walk; sometimes the nodes come and go under it. */
static void walk(struct model *m, bool change)
{
	struct mrn_index_cursor c = MRN_INDEX_FIRST;
	uintptr_t start = below(&m->seed, m->span);
	uintptr_t end = start + 1 + below(&m->seed, m->most);
	struct mrn_index_walk w;

	m->walked = m->id;
	mrn_index_walk_begin(&w, start, end);
	for (;;) {
		struct mrn_index_entry *n = mrn_index_walk_next(&m->index, &w);
		struct mrn_index_entry *right = plain_next(m, start, end, c);

		/* What came since it looked ahead, a walk may leave out: it has a higher id. */
		while (change && n != right && right && right->id > m->walked)
			right = plain_next(m, start, end, (c = (struct mrn_index_cursor){right->start, right->id}));
		CHECK(n == right);
		if (!n)
			return;
		CHECK(mrn_index_may_overlap(&m->index, start, end));
		c = (struct mrn_index_cursor){n->start, n->id};
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
	CHECK(mrn_index_is_valid(&m.index));
	for (unsigned int i = 0; i < rounds; i++) {
		toggle(&m, below(&m.seed, NODES));
		CHECK(mrn_index_is_valid(&m.index));
		if (i % 8 == 0)
			walk(&m, i % 16 == 0);
	}
	for (unsigned int k = 0; k < NODES; k++) {
		if (m.in[k])
			toggle(&m, k);
		CHECK(mrn_index_is_valid(&m.index));
	}
	CHECK(!m.index.root);
	mrn_index_destroy(&m.index);
}

TEST(index_fuzz_against_a_plain_list)
{
	fuzz(1, 1000, 50, ROUNDS(10000));
	fuzz(2, 1000, 1000, ROUNDS(4000));   /* nearly everything overlaps */
	fuzz(3, 4, 3, ROUNDS(4000));	     /* nearly every start is equal */
	fuzz(4, 1u << 30, 10, ROUNDS(4000)); /* nearly nothing overlaps */
}

