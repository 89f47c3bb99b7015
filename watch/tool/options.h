/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_WATCH_OPTIONS_H
#define MRN_WATCH_OPTIONS_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

struct watch_options {
	const char *trace;     /* where to write it, or NULL */
	const char *report;    /* where to write it, or NULL */
	const char *json_file; /* where to write it; NULL: to standard output, if json */
	uint32_t kinds;	       /* MRN_SOURCE_...: the best that works */
	uint64_t records;      /* in a ring, a power of two */
	bool children, json;
	char **program; /* and its arguments */
};

/* The value of --source, as a mask of kinds. 0, or EINVAL after one line on stderr. */
error_t watch_read_source(const struct argp_state *state, const char *name, uint32_t *kinds);

/* 0 or CLI_USAGE. */
int watch_parse_options(int argc, char **argv, struct watch_options *o);

#endif
