/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mappings of files that anybody may take out of the page cache: by a direct write, for one (MRN_COVER_PAGE_CACHE). A pin keeps
 * such a page, but the mapping shows another one from then on. No call of this process need have to do with it.
 */
#ifndef MRN_SOURCE_FILES_H
#define MRN_SOURCE_FILES_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Is such a file mapped in [start, end)? False for memory's own files only: memfd, /dev/shm and other tmpfs, SysV segments, shared
 * anonymous memory, huge pages. What cannot be told counts as one: without /proc, everything. Not on the event path.
 */
bool mrn_shows_page_cache(uintptr_t start, uintptr_t end);

#endif
