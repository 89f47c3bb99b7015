/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file that code has come from. A path alone does not say which: it may have been replaced since, as configure does
 * with each of its conftests, or written anew, or deleted. So it is opened while the program has it mapped, and told by
 * device and inode as the kernel writes them in lists of mappings, which is not always what stat says.
 */
#ifndef MRN_WATCH_ORIGIN_H
#define MRN_WATCH_ORIGIN_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "watch/shared/log.h"

struct origin {
	char *path; /* as the program's list of mappings has it */
	uint64_t inode;
	uint32_t dev_major, dev_minor;
	uint64_t since; /* when it was seen to be mapped */
	int fd;		/* -1: not open */
	/* Of the file when it was opened, if it could be. */
	int64_t size;
	struct timespec modified;
	bool is_known;
	bool replaced; /* it is not, or no longer, what the program has run */
};

/* 0 or -ENOMEM. keep: leave it open, if it could be. pid: who has it mapped. */
int origin_init(struct origin *o, uint32_t pid, const struct watch_module *m, bool keep);
void origin_destroy(struct origin *o);

/* The same path and inode? */
bool origin_is_of(const struct origin *o, const struct watch_module *m);
/* Notes whether it has been written to since. */
void origin_check(struct origin *o);

/* A descriptor to read it by, which is the caller's; -1 when it is not to be had. */
int origin_open(struct origin *o);

#endif
