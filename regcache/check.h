/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of the cache: os/check.h. */
#ifndef MRN_REGCACHE_CHECK_H
#define MRN_REGCACHE_CHECK_H

#include <stdbool.h>

#include "os/check.h"

MRN_PART(CACHE_RETRY);	     /* the cache publishes without the retry check */
MRN_PART(CACHE_FIRST_READ);  /* a registration waits for no invalidation */
MRN_PART(CACHE_MERGE_WAITS); /* a merged range waits for invalidations */
MRN_PART(CACHE_NOTIFIER);    /* an entry's notifier does nothing */
MRN_PART(CACHE_TOKENS);	     /* a hit does not look at the tokens */
MRN_PART(CACHE_RETIRED);     /* a dead entry is retired each time it loses a reference */
MRN_PART(CACHE_QUEUING);     /* an entry about to be retired counts as in use */
MRN_PART(CACHE_REFS);	     /* an invalidated entry is deregistered while in use */
MRN_PART(CACHE_OWN);	     /* another cache's entry is taken for this one's */
MRN_PART(CACHE_RETIRING);    /* a thread that is about to deregister an entry is not counted */
MRN_PART(CACHE_BYTES);	     /* an evicted entry's bytes are free before it is deregistered */
MRN_PART(CACHE_ENDED);	     /* room that comes while the device refuses does not count */

/* The notifier of a miss has been inserted, and not been read. */
MRN_HOOK_TYPE(inserted, void);
/* Before a dead entry is claimed, and (is_ours) before this thread pushes it. */
MRN_HOOK_TYPE(claim, bool is_ours);
/* Before a check whether an entry is idle, with the cache's lock held. */
MRN_HOOK_TYPE(evict, void);
/* Before a thread waits for others that deregister, with the cache's lock held. */
MRN_HOOK_TYPE(wait_for_room, void);

#endif
