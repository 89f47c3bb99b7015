/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which pages are a file's, or of shared memory, of those that were not there when they were registered: what pins nothing
 * leaves them away. A discard takes none of these.
 *
 * The page map says so of a page that is there. For one that is not, it is asked whether its mapping is shared. What cannot be
 * asked is private. On the event path; one range at a time, between begin and end.
 */
#ifndef MRN_CHECK_FILES_H
#define MRN_CHECK_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "check/record/map.h"

struct check_files {
	struct check_map map;
	uintptr_t known; /* up to there it has been asked: */
	bool shared;
};

/* Of [start, end), whole pages. */
void check_files_begin(struct check_files *f, uintptr_t start, uintptr_t end);
/* True if the page at addr is one. Ask in ascending order. */
bool check_files_have(struct check_files *f, uintptr_t addr);
void check_files_end(struct check_files *f);

/* True if a file, or shared memory, is mapped at addr. */
bool check_files_are_mapped(uintptr_t addr);

#endif
