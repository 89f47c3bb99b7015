/* SPDX-License-Identifier: BSD-3-Clause */
#include "index/pool.h"

#include <stddef.h>

#include "index/check.h"
#include "index/node.h"
#include "os/wiped.h"
#include "os/pages.h"

#define FIRST_CHUNK ((size_t)32 << 10)
#define LAST_CHUNK  ((size_t)2 << 20)

struct mrn_index_chunk {
	struct mrn_index_chunk *next;
	size_t size, used;
} __attribute__((aligned(64)));

static size_t size_of(unsigned int kind)
{
	return kind ? sizeof(struct mrn_inner) : sizeof(struct mrn_leaf);
}

static bool add_chunk(struct mrn_index *ix)
{
	size_t size = ix->chunks ? ix->chunks->size * 2 : FIRST_CHUNK;
	struct mrn_index_chunk *c;

	size = size < LAST_CHUNK ? size : LAST_CHUNK;
	if (MRN_ALLOC_FAILS())
		return false;
	c = ix->filter.wiped ? mrn_wiped_alloc(size) : mrn_pages_alloc_large(size, false);
	if (!c)
		return false;
	c->next = ix->chunks;
	c->size = size;
	c->used = sizeof(*c);
	/* Release: a child forked now finds the list intact. */
	__atomic_store_n(&ix->chunks, c, __ATOMIC_RELEASE);
	ix->bytes += size;
	return true;
}

static void give(struct mrn_index *ix, struct mrn_index_node *node, unsigned int kind)
{
	node->next = ix->free[kind];
	ix->free[kind] = node;
	ix->nr_free[kind]++;
}

bool mrn_pool_reserve(struct mrn_index *ix, unsigned int kind, unsigned int n)
{
	while (ix->nr_free[kind] < n) {
		struct mrn_index_chunk *c = ix->chunks;

		if (!c || c->size - c->used < size_of(kind)) {
			if (!add_chunk(ix))
				return false;
			continue;
		}
		give(ix, (struct mrn_index_node *)((char *)c + c->used), kind);
		c->used += size_of(kind);
	}
	return true;
}

struct mrn_index_node *mrn_pool_take(struct mrn_index *ix, unsigned int kind)
{
	struct mrn_index_node *node = ix->free[kind];

	ix->free[kind] = node->next;
	ix->nr_free[kind]--;
	return node;
}

void mrn_pool_retire(struct mrn_index *ix, struct mrn_index_node *node)
{
	node->next = ix->retired;
	ix->retired = node;
}

void mrn_index_take_retired(struct mrn_index *ix, struct mrn_index_retired *r)
{
	*r = (struct mrn_index_retired){ix->retired, ix->filter.retired};
	ix->retired = NULL;
	ix->filter.retired = NULL;
}

void mrn_index_recycle(struct mrn_index *ix, struct mrn_index_retired *r)
{
	struct mrn_index_node *next;

	for (struct mrn_index_node *node = r->nodes; node; node = next) {
		next = node->next;
		give(ix, node, node->level != 0);
	}
	mrn_filter_table_free(r->tables);
	*r = (struct mrn_index_retired){0};
}

void mrn_index_destroy(struct mrn_index *ix)
{
	struct mrn_index_chunk *next;

	for (struct mrn_index_chunk *c = ix->chunks; c; c = next) {
		next = c->next;
		mrn_wiped_free(c, c->size);
	}
	mrn_filter_table_free(ix->filter.retired);
	mrn_filter_table_free(ix->filter.table);
	*ix = (struct mrn_index){0};
}
