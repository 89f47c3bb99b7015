/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_TOOL_LAB_OPTIONS_H
#define MRN_TOOL_LAB_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct lab_options {
	const char *driver; /* a name, or "all" */
	const char *broken; /* a step, or NULL */
	uint64_t ops;	    /* of each driver */
	uint64_t threads;
	uint64_t seed;
	bool stop; /* at a driver's first finding */
	bool json, list_steps;
};

/* 0 or CLI_USAGE. */
int lab_parse_options(int argc, char **argv, struct lab_options *o);

#endif
