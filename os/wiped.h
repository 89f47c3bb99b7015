/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory of an mm's index: pages that a forked child finds zeroed and does not need. The child unmaps them, by
 * notes that are kept in memory which it inherits.
 *
 * When it may. A child begins with one thread, the one that forked, perhaps in a signal handler that interrupted a read
 * or a change of the parent's index. When the handler returns, the read goes on, and must find zeros. So nothing that
 * may be called from a signal handler unmaps anything, and nothing happens at the fork itself. A caller that inserts a
 * notifier or destroys a cache is not in a signal handler, and so not in a read; threads created since the fork have
 * begun none, since the mm, which stays, shows them no index. Between two sections, where callbacks run, a walk keeps
 * no node.
 */
#ifndef MRN_OS_WIPED_H
#define MRN_OS_WIPED_H

#include <stddef.h>

/*
 * Large pages if available; NULL without memory. Unmaps a parent's pages. Not from a signal handler, nor for an index
 * of a parent.
 */
void *mrn_wiped_alloc(size_t size);

/* Frees pages of mrn_wiped_alloc or mrn_pages_alloc_large. */
void mrn_wiped_free(void *pages, size_t size);

/* In a forked child, unmaps its parent's pages. Elsewhere does nothing. Not from a signal handler. */
void mrn_wiped_give_back(void);

#endif
