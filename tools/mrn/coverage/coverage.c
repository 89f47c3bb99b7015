/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coverage/beside.h"
#include "tools/mrn/cli.h"
#include "tools/mrn/coverage/coverage.h"
#include "tools/mrn/progress.h"

/* Tries a cause under each source. */
static int probe(const struct coverage_options *o, const char *program, struct coverage_row *row)
{
	int err = 0;

	for (unsigned int s = 0; s < COVERAGE_SOURCES && !err; s++) {
		if (!o->source[s])
			continue;
		progress_show("%s: %s", row->cause->name, coverage_source(s));
		err = coverage_probe(program, s, row->cause, &row->cell[s]);
	}
	progress_remove();
	if (!err)
		return CLI_OK;
	cli_say("mrn coverage", "%s cannot be run: %s", program, strerror(-err));
	return CLI_FAILED;
}

static int probe_all(const struct coverage_options *o, const char *program,
		     struct coverage_row *rows, size_t n)
{
	int status = CLI_OK;

	if (!o->json)
		coverage_report_heading(o);
	for (size_t i = 0; i < n && !status; i++) {
		status = probe(o, program, &rows[i]);
		if (!status && !o->json)
			coverage_report_row(o, &rows[i]);
	}
	return status;
}

static int show(const struct coverage_options *o, const struct coverage_row *rows, size_t n)
{
	errno = 0;
	if (!o->json)
		coverage_report_reasons(o, rows, n);
	return cli_written("mrn coverage", "verdicts",
			   o->json ? coverage_report_json(o, rows, n) : cli_flush(stdout));
}

static int run(int argc, char **argv)
{
	struct coverage_options o;
	struct coverage_row *rows;
	char program[4096];
	int status = coverage_parse_options(argc, argv, &o);
	size_t n = 0;

	if (status)
		return status;
	if (beside_find(program, sizeof(program), PROBE_PROGRAM)) {
		cli_say("mrn coverage", PROBE_PROGRAM " is not here: install mrn as a whole");
		return CLI_MISSING;
	}
	rows = calloc(cause_count, sizeof(*rows));
	if (!rows) {
		cli_say("mrn coverage", "no memory");
		return CLI_FAILED;
	}
	for (size_t i = 0; i < cause_count; i++)
		if (!o.cause || o.cause == &cause_table[i])
			rows[n++].cause = &cause_table[i];
	status = probe_all(&o, program, rows, n);
	if (!status)
		status = show(&o, rows, n);
	free(rows);
	return status;
}

const struct cli_command coverage_command = {
	.name = "coverage",
	.summary = "show which changes of memory each source catches",
	.run = run,
};
