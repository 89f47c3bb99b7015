/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory of the index's nodes, in chunks from the kernel. Two kinds: 0 leaves, 1 inner nodes.
 */
#ifndef MRN_INDEX_POOL_H
#define MRN_INDEX_POOL_H

#include "index/index.h"

/* Makes sure that n nodes can be taken. False without memory. */
bool mrn_pool_reserve(struct mrn_index *ix, unsigned int kind, unsigned int n);
/* Takes a reserved node. */
struct mrn_index_node *mrn_pool_take(struct mrn_index *ix, unsigned int kind);
/* Retires a node that new readers no longer find. */
void mrn_pool_retire(struct mrn_index *ix, struct mrn_index_node *node);

#endif
