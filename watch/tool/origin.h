/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file that code has come from. A path alone does not identify it: since then the file may have been replaced, as
 * configure does with each of its conftests, or rewritten, or deleted. So it is opened while the program has it mapped,
 * and recognised by device and inode as the kernel lists them for mappings, which may differ from stat's.
 */
#ifndef MRN_WATCH_ORIGIN_H
#define MRN_WATCH_ORIGIN_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "watch/shared/log.h"

struct origin {
	char *path; /* as in the program's list of mappings */
	uint64_t inode;
	uint32_t dev_major, dev_minor;
	uint64_t since; /* when it was first seen mapped */
	int fd;		/* -1: not open */
	/* The file's when it was opened, if it could be. */
	int64_t size;
	struct timespec modified;
	bool is_known;
	bool replaced; /* it is not, or no longer, what the program has run */
};

/* 0 or -ENOMEM. keep: leave it open, if possible. pid: the process that has it mapped. */
int origin_init(struct origin *o, uint32_t pid, const struct watch_module *m, bool keep);
void origin_destroy(struct origin *o);

/* True if path and inode are the same. */
bool origin_is_of(const struct origin *o, const struct watch_module *m);
/* Notes whether it has been written to since. */
void origin_check(struct origin *o);

/* A descriptor to read it, for the caller to close; -1 if it cannot be opened. */
int origin_open(struct origin *o);

#endif
