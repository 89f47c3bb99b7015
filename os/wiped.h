/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory of an mm's index: pages that a forked child finds zeroed, and has no use for. The child gives their
 * addresses back, by a note of each that is kept in memory which it inherits.
 *
 * When it may. A child begins with one thread, the one that forked, and that one may have forked in a signal handler, in the
 * midst of a look at its parent's index or of a change to it. When the handler returns, the look goes on, and must find
 * zeros. So nothing that may be called from a signal handler gives anything back, nor does anything by itself, at the fork.
 * Whoever inserts a notifier or destroys a cache is in no signal handler; then that thread is in no look, and the others,
 * which it has made since the fork, have begun none: in the mm, which stays, they find no index. Between two looks, where
 * callbacks run, a walk keeps no node.
 */
#ifndef MRN_OS_WIPED_H
#define MRN_OS_WIPED_H

#include <stddef.h>

/*
 * Large pages where they are to be had; NULL without memory. Gives back what is a parent's. Not from a signal handler, nor
 * for what is a parent's itself.
 */
void *mrn_wiped_alloc(size_t size);

/* Pages of this, or of mrn_pages_alloc_large. */
void mrn_wiped_free(void *pages, size_t size);

/* In a forked child, what its parent had at the fork. Nothing elsewhere. Not from a signal handler. */
void mrn_wiped_give_back(void);

#endif
