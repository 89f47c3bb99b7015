/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The two tables, by cause and by call site, for people and as JSON.
 */
#ifndef MRN_WATCH_TABLES_H
#define MRN_WATCH_TABLES_H

#include <stdint.h>
#include <stdio.h>

#include "watch/tool/tally.h"

/* What the tables say besides the tally. */
struct watch_run {
	const char *program;
	const char *source; /* "" if the program has not got so far */
	double seconds;
	uint64_t processes;
	/* Why processes have run unwatched: WATCH_REASONS of them. */
	const struct watch_reason *reasons;
	uint32_t runtimes; /* as in the log's header */
	uint64_t dropped, unpaired;
};

/* Name all sites before. 0 or -errno. */
int tables_print(FILE *out, const struct tally *t, const struct watch_run *run);
int tables_print_json(FILE *out, const struct tally *t, const struct watch_run *run);

/* "1.2 MiB" */
void tables_size(char *text, size_t size, uint64_t bytes);

#endif
