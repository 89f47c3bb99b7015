/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The index: half-open ranges that may overlap, in a tree of wide nodes by (start, id).
 *
 * Readers take no lock and never wait or retry. The caller serialises writers. What makes that work:
 *
 *  - An entry appears by one store, of its pointer into a leaf's slot, after its start and end are set; it goes by one
 *    store. While it is present its slot does not change, in whatever order it is read. A reused slot shows a reader
 *    the old entry, the new one, or a mix of their ends: both came or went meanwhile, so the reader need find neither.
 *    It checks what it finds once more in the entry itself.
 *  - Any other change copies nodes: a reader in an old node goes on in it, and sees the old contents. One store
 *    publishes the copies.
 *  - The maximum of the ends below a child is raised before the entry appears, and lowered after it has gone.
 *
 * So a reader sees every entry that was present when it began and has not been erased since. A3 needs no more: a
 * notifier inserted later finds the reader's token.
 *
 * Readers are in sections. An erased entry, or a replaced node, may be reused when every section that was open when it
 * went has ended; the index's user keeps track of sections.
 */
#ifndef MRN_INDEX_H
#define MRN_INDEX_H

#include <mrn/index_entry.h>

#include "index/filter.h"

#define MRN_INDEX_SLOTS	 MRN_VECTOR /* in a node */
#define MRN_INDEX_LEVELS 12	    /* more than memory has room for */

struct mrn_index_node;

struct mrn_index {
	struct mrn_index_node *root; /* atomic */
	unsigned int height;	     /* of the tree: 0 for a leaf */
	struct mrn_filter filter;
	struct mrn_index_node *retired,
		*free[2]; /* lists; free ones by kind: leaves, inner nodes */
	unsigned int nr_free[2];
	struct mrn_index_chunk *chunks;
	size_t bytes; /* taken from the kernel for nodes */
};
_Static_assert(offsetof(struct mrn_index, filter.marks) == 64,
	       "where the index begins a line, readers have one that seldom changes");

/* The index's own memory, without the entries. */
static inline size_t mrn_index_bytes(const struct mrn_index *ix)
{
	return ix->bytes + (ix->filter.table ? ix->filter.table->size : 0);
}

/* The path to an entry's place: node[l] is on level l, child at[l] of node[l + 1]. Valid until the next change. */
struct mrn_index_way {
	struct mrn_index_node *node[MRN_INDEX_LEVELS];
	unsigned int at[MRN_INDEX_LEVELS];
};

/* For the writer. Prefetches for an insertion there. */
void mrn_index_find(const struct mrn_index *ix, uintptr_t start, uint64_t id,
		    struct mrn_index_way *way);

/*
 * Adds an entry with start < end, and with an id above every earlier entry's. insert_at takes the path, insert finds
 * it. 0 or -ENOMEM.
 */
int mrn_index_insert_at(struct mrn_index *ix, struct mrn_index_entry *e, struct mrn_index_way *way);
int mrn_index_insert(struct mrn_index *ix, struct mrn_index_entry *e);

/* Removes an entry. Open sections may still read it. Never fails. */
void mrn_index_erase(struct mrn_index *ix, struct mrn_index_entry *e);

/* Prefetches for an erasure. Any thread may call it, if the entry is in the index. */
void mrn_index_prefetch_erase(const struct mrn_index *ix, const struct mrn_index_entry *e);

/* Memory that has been replaced. */
struct mrn_index_retired {
	struct mrn_index_node *nodes;
	struct mrn_filter_table *tables;
};

static inline bool mrn_index_has_retired(const struct mrn_index *ix)
{
	return ix->retired || ix->filter.retired;
}

/* take_retired takes memory that has been replaced; recycle frees it, once no section can be in it. */
void mrn_index_take_retired(struct mrn_index *ix, struct mrn_index_retired *r);
void mrn_index_recycle(struct mrn_index *ix, struct mrn_index_retired *r);

/* Frees all memory. There must be no readers. */
void mrn_index_destroy(struct mrn_index *ix);

/* Prefetches for the next call; safe outside a section. */
static inline void mrn_index_prefetch(const struct mrn_index *ix, uintptr_t start)
{
	mrn_filter_prefetch(&ix->filter, start);
}

/* True if an entry may overlap; false is certain. In a section. */
static inline bool mrn_index_may_overlap(const struct mrn_index *ix, uintptr_t start, uintptr_t end)
{
	return mrn_filter_may_overlap(&ix->filter, start, end);
}

/* Prefetches for a walk that begins at start, if there is a hint. In a section; call when an entry may overlap. */
static inline void mrn_index_prefetch_walk(const struct mrn_index *ix, uintptr_t start)
{
	mrn_hint_follow(&ix->filter, start);
}

/* A position in the order of entries; stays valid when entries come and go. */
struct mrn_index_cursor {
	uintptr_t start;
	uint64_t id;
};
#define MRN_INDEX_FIRST ((struct mrn_index_cursor){0, 0})

/*
 * A walk over the entries that overlap a range, in order. Call next in a section; it returns the next entry, or NULL.
 * Calls may use different sections. The walk uses entries that it looked up ahead only if nothing has been erased
 * since.
 */
struct mrn_index_walk {
	uintptr_t start, end;
	struct mrn_index_cursor cursor;
	uint64_t erased;
	bool more; /* entries after those looked up */
	unsigned int n, at;
	struct mrn_index_entry *ahead[MRN_INDEX_SLOTS];
};

static inline void mrn_index_walk_begin(struct mrn_index_walk *w, uintptr_t start, uintptr_t end)
{
	w->start = start;
	w->end = end;
	w->cursor = MRN_INDEX_FIRST;
	w->more = true;
	w->n = w->at = 0;
}

/* True if there are certainly no more entries. */
static inline bool mrn_index_walk_is_over(const struct mrn_index_walk *w)
{
	return w->at == w->n && !w->more;
}

struct mrn_index_entry *mrn_index_walk_next(const struct mrn_index *ix, struct mrn_index_walk *w);

/* In checking builds only; there must be no writer. Checks every invariant. */
bool mrn_index_is_valid(const struct mrn_index *ix);
/* The same: true unless an entry that overlaps has been written over. */
bool mrn_index_is_intact(const struct mrn_index *ix, uintptr_t start, uintptr_t end);

#endif
