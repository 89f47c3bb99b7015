/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_CHECK_OPTIONS_H
#define MRN_CHECK_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct check_options {
	const char *json_file;	  /* where to write findings; or NULL */
	const char *suppressions; /* a file; or NULL */
	uint32_t fail_on;	  /* 1 << enum check_grade */
	uint64_t status;	  /* what is returned for a finding */
	uint64_t max;		  /* reports */
	uint32_t kinds;		  /* MRN_SOURCE_...: the best that works */
	bool children;
	char **program; /* and its arguments */
};

/* 0 or CLI_USAGE. */
int check_parse_options(int argc, char **argv, struct check_options *o);

/* "use", "change" or "flight". */
const char *check_grade_name(unsigned int grade);

#endif
