/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The index: half-open ranges that may overlap, in a tree of wide nodes by (start, id).
 *
 * Readers take no lock and never wait or begin again. One writer at a time, whom the caller keeps apart
 * from others. What makes that work:
 *
 *  - An entry appears by one store, of its pointer into a leaf's slot, after its start and end are there; it
 *    goes by one store. While it is there its slot does not change, in whatever order it is read. A slot that is
 *    used again shows a reader the old entry or the new one, or a mix of their ends: both came or went meanwhile,
 *    and he need find neither. What he finds he looks at once more in the entry itself.
 *  - Whatever else changes is copied: whoever has the old node goes on in it, and sees what was there. One
 *    store puts the copies in its place.
 *  - The maximum of the ends below a child is raised before the entry appears, and lowered after it has gone.
 *
 * So a reader sees every entry that was there when he began and has not been erased since. A3 needs no more:
 * one that came later finds the reader's token.
 *
 * Reading is in sections. Between them memory may go: an erased entry, a node that has been replaced, is
 * somebody's again when every section that was open at its going has ended: its user counts them.
 */
#ifndef MRN_INDEX_H
#define MRN_INDEX_H

#include <mrn/index_entry.h>

#include "index/filter.h"

#define MRN_INDEX_SLOTS	 MRN_VECTOR /* of a node */
#define MRN_INDEX_LEVELS 12	    /* more than memory has room for */

struct mrn_index_node;

struct mrn_index {
	struct mrn_index_node *root; /* atomic */
	uint64_t entries;	     /* atomic; to readers a guess */
	uint64_t erased;	     /* atomic; counts up when an entry has gone */
	unsigned int height;	     /* of the tree: 0 for a leaf */
	struct mrn_filter filter;
	struct mrn_index_node *retired,
		*free[2]; /* lists; free ones by kind: leaves, inner nodes */
	unsigned int nr_free[2];
	struct mrn_index_chunk *chunks;
	size_t bytes; /* taken from the kernel for nodes */
};

/* Memory that the index has of its own: entries are their owners'. */
static inline size_t mrn_index_bytes(const struct mrn_index *ix)
{
	return ix->bytes + (ix->filter.table ? ix->filter.table->size : 0);
}

/* Where an entry belongs: node[l] is on level l, child at[l] of node[l + 1]. Good until the next change. */
struct mrn_index_way {
	struct mrn_index_node *node[MRN_INDEX_LEVELS];
	unsigned int at[MRN_INDEX_LEVELS];
};

/* The writer's. Begins to load what an insertion there will need. */
void mrn_index_find(const struct mrn_index *ix, uintptr_t start, uint64_t id,
		    struct mrn_index_way *way);

/*
 * Adds an entry, its start < end set, and an id above that of every entry before; on the way there, or finds it.
 * 0 or -ENOMEM.
 */
int mrn_index_insert_at(struct mrn_index *ix, struct mrn_index_entry *e, struct mrn_index_way *way);
int mrn_index_insert(struct mrn_index *ix, struct mrn_index_entry *e);

/* Takes an entry out that is there. It may still be looked at, in sections that are open. Never fails. */
void mrn_index_erase(struct mrn_index *ix, struct mrn_index_entry *e);

/* Begins to load what that will need. For who knows that the entry is there, not only for the writer. */
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

/* Takes what has been replaced so far; gives back what no section can be in any more. */
void mrn_index_take_retired(struct mrn_index *ix, struct mrn_index_retired *r);
void mrn_index_recycle(struct mrn_index *ix, struct mrn_index_retired *r);

/* Gives all memory back. Nobody is reading. */
void mrn_index_destroy(struct mrn_index *ix);

/* Begins to load what the next one will need. Anywhere. */
static inline void mrn_index_prefetch(const struct mrn_index *ix, uintptr_t start)
{
	mrn_filter_prefetch(&ix->filter, start);
}

/* May any entry overlap? False is certain. In a section. */
static inline bool mrn_index_may_overlap(const struct mrn_index *ix, uintptr_t start, uintptr_t end)
{
	return mrn_filter_may_overlap(&ix->filter, start, end);
}

/* A position in the order of entries; it stays good when entries come and go. */
struct mrn_index_cursor {
	uintptr_t start;
	uint64_t id;
};
#define MRN_INDEX_FIRST ((struct mrn_index_cursor){0, 0})

/*
 * A walk over the entries that overlap a range, in order. next returns the one after the last, or NULL, in a
 * section; it may be another section each time. What the walk has looked up ahead it uses only as long as
 * nothing has been erased.
 */
struct mrn_index_walk {
	uintptr_t start, end;
	struct mrn_index_cursor cursor;
	uint64_t erased;
	bool more; /* behind what has been looked up */
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

/* Is it certain that there are no more? */
static inline bool mrn_index_walk_is_over(const struct mrn_index_walk *w)
{
	return w->at == w->n && !w->more;
}

struct mrn_index_entry *mrn_index_walk_next(const struct mrn_index *ix, struct mrn_index_walk *w);

#ifdef MRN_CHECK
/* Checks every invariant. Nobody is writing. */
bool mrn_index_is_valid(const struct mrn_index *ix);
#endif

#endif
