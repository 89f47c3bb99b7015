/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hints: where the entries of a granule are, for a look-up that finds one entry among many.
 *
 * Such a look-up loads a line of the filter, an inner node, a leaf and the entry, each from memory, and learns from each
 * where the next one is. A hint names an entry and its place. It is chosen by the hash that chooses the filter's line;
 * so its line is prefetched together with that one, and when the filter has said "perhaps", leaf and entry are
 * prefetched together while the walk goes down to them.
 *
 * A hint may be missing, half of one and half of another, or name an entry that has been erased and a leaf that has been
 * replaced, whose memory may be another's by now, or nobody's. Nothing depends on it, since what it names is never read,
 * only prefetched. A prefetch returns nothing to the program, changes no memory, raises no fault where nothing is mapped
 * or nothing may be read, and does nothing to a device's registers; the sanitizers do not see one. All that a wrong hint
 * costs is a few cache lines.
 *
 * Only large tables of the filter have hints, and only in an index that asks for them; they come and go with the table.
 */
#ifndef MRN_INDEX_HINT_H
#define MRN_INDEX_HINT_H

#include <mrn/index_entry.h>
#include <stdbool.h>
#include <stddef.h>

struct mrn_filter;
struct mrn_filter_table;

/* Both are atomic. */
struct mrn_hint {
	uint64_t entry;	 /* its address, and above it 16 bits of the hash */
	uintptr_t place; /* the entry's */
};

/* The four hints that were added last, the newest first; one for each hash. */
#define MRN_HINTS 4
struct mrn_hint_line {
	struct mrn_hint hint[MRN_HINTS];
} __attribute__((aligned(64)));

/* For each line of a filter's table, with 10 to 20 marks. */
#define MRN_HINT_LINES 4

/* ---- for the writer; nothing if the table has no hints */

/* e has been put into its place: for the first time, or into another one. */
void mrn_hint_add(struct mrn_filter_table *t, const struct mrn_index_entry *e);
void mrn_hint_move(struct mrn_filter_table *t, const struct mrn_index_entry *e);
/* Prefetches for either. */
void mrn_hint_prefetch(struct mrn_filter_table *t, const struct mrn_index_entry *e);

/* ---- for readers, in a section */

/* Prefetches for a walk that begins at start: call when the filter has said "perhaps". */
void mrn_hint_follow(const struct mrn_filter *f, uintptr_t start);

#endif
