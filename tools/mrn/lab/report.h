/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_TOOL_LAB_REPORT_H
#define MRN_TOOL_LAB_REPORT_H

#include "lab/run.h"
#include "tools/mrn/lab/options.h"

struct lab_line {
	const struct lab_driver *driver;
	struct lab_result result;
};

/* What --list-steps prints. */
void lab_report_steps(const struct lab_options *o);
/* Prints the table, a line for each driver as soon as it has run; and what follows it. */
void lab_report_heading(void);
void lab_report_line(const struct lab_line *line);
void lab_report_rest(const struct lab_options *o, const struct lab_line *lines, size_t n);
/* 0 or -errno. */
int lab_report_json(const struct lab_options *o, const struct lab_line *lines, size_t n);
/* Returns the exit status, after a sentence on stderr if it is not 0. */
int lab_report_verdict(const struct lab_options *o, const struct lab_line *lines, size_t n);

#endif
