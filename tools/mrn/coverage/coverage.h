/* SPDX-License-Identifier: BSD-3-Clause */
/* mrn coverage: each cause under each source, each tried by its own probe (coverage/probe). */
#ifndef MRN_TOOL_COVERAGE_H
#define MRN_TOOL_COVERAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "coverage/cause/cause.h"
#include "coverage/probe/verdict.h"
#include "source/kinds.h"

/* The kinds of source, and AUTO. */
#define COVERAGE_SOURCES (MRN_NR_KINDS + 1)

static inline const char *coverage_source(unsigned int s)
{
	return s < MRN_NR_KINDS ? mrn_kind_facts[s].name : MRN_AUTO;
}

struct coverage_options {
	bool source[COVERAGE_SOURCES];
	const struct cause *cause; /* NULL: all */
	bool json;
};

/* What one probe found. */
struct coverage_cell {
	enum verdict verdict;
	char why[256];
};

struct coverage_row {
	const struct cause *cause;
	struct coverage_cell cell[COVERAGE_SOURCES];
};

/* options.c: 0, or an exit status */
int coverage_parse_options(int argc, char **argv, struct coverage_options *o);

/* run.c: 0, or -errno if no probe can be run at all */
int coverage_probe(const char *program, unsigned int source, const struct cause *cause,
		   struct coverage_cell *cell);

/* report.c */
void coverage_report_heading(const struct coverage_options *o);
void coverage_report_row(const struct coverage_options *o, const struct coverage_row *row);
void coverage_report_reasons(const struct coverage_options *o, const struct coverage_row *rows,
			     size_t n);
int coverage_report_json(const struct coverage_options *o, const struct coverage_row *rows,
			 size_t n);

#endif
