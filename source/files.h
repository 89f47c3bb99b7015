/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mappings of files whose pages may be dropped from the page cache: by a direct write, for one (MRN_COVER_PAGE_CACHE).
 * A pin keeps such a page, but from then on the mapping shows another one. The writer need not be this process.
 */
#ifndef MRN_SOURCE_FILES_H
#define MRN_SOURCE_FILES_H

#include <stdbool.h>
#include <stdint.h>

/*
 * True if such a file is mapped in [start, end). False only for memory's own files: memfd, /dev/shm and other tmpfs,
 * SysV segments, shared anonymous memory, huge pages. True in doubt: without /proc, for everything. Not on the event
 * path.
 */
bool mrn_shows_page_cache(uintptr_t start, uintptr_t end);
/* The same; *whole: all of it is mapped, as far as was looked. */
bool mrn_shows_page_cache_in(uintptr_t start, uintptr_t end, bool *whole);

#endif
