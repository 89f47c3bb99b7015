/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Call sites: a return address, and one in libc if it was called on the way, as places in files. Collected while the
 * program runs; symbols.h names them afterwards.
 */
#ifndef MRN_WATCH_SITES_H
#define MRN_WATCH_SITES_H

#include <stddef.h>
#include <stdint.h>

#include "watch/tool/origin.h"
#include "watch/shared/log.h"

/* A byte in a file, or a bare address if no file is known. */
struct code_place {
	uint32_t file; /* in sites.file; 0: none */
	uint64_t offset;
};

struct site {
	struct code_place at, via;
	/* Set by symbols.h. */
	const char *label; /* "function in module"; tables are grouped by it */
	const char *line;  /* "file:line", or "" */
};

struct sites {
	struct site *site;
	uint32_t nr, max;
	uint32_t *hash; /* 1 + an index; 0: free */
	uint32_t hash_size;
	struct origin *file; /* file[0] has the path "" */
	uint32_t nr_files, max_files, max_open;
};

/* 0 or -ENOMEM. */
int sites_create(struct sites *s);
void sites_destroy(struct sites *s);

/* A program has begun: opens the files of its code, while they exist. */
void sites_begin(struct sites *s, uint32_t pid, const struct watch_lane *lane);

/* The index of the record's call site; 0 is the unknown site. */
uint32_t sites_find(struct sites *s, const struct watch_record *record,
		    const struct watch_lane *lane);

#endif
