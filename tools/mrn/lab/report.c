/* SPDX-License-Identifier: BSD-3-Clause */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/mrn/cli.h"
#include "tools/mrn/json.h"
#include "tools/mrn/lab/report.h"
#include "tools/mrn/print.h"

/* A line for each step, for programs; on a terminal filled. */
static void list_steps(const struct lab_driver *d)
{
	bool terminal = isatty(STDOUT_FILENO);
	char first[48];

	for (const struct lab_step *step = d->steps; step->name; step++) {
		snprintf(first, sizeof(first), "%-11s %-23s ", d->name, step->name);
		if (terminal)
			print_filled(first, "                                    ", step->words);
		else
			printf("%s%s\n", first, step->words);
	}
}

void lab_report_steps(const struct lab_options *o)
{
	for (size_t i = 0; lab_drivers[i]; i++)
		if (!strcmp(o->driver, "all") || !strcmp(o->driver, lab_drivers[i]->name))
			list_steps(lab_drivers[i]);
}

void lab_report_heading(void)
{
	printf("%-11s %7s %7s %7s %9s %8s %5s %7s %5s %5s", "driver", "ops", "faults", "retries",
	       "callbacks", "refusals", "stale", "asserts", "leaks", "ns/op");
	print_row_end();
}

void lab_report_line(const struct lab_line *line)
{
	const struct lab_result *r = &line->result;

	printf("%-11s %7s %7s %7s %9s %8s %5s %7s %5s %5s", line->driver->name, COUNT(r->ops, 7),
	       COUNT(r->faults, 7), COUNT(r->retries, 7), COUNT(r->invalidations, 9),
	       COUNT(r->refusals, 8), COUNT(r->stale, 5), COUNT(r->asserts, 7), COUNT(r->leaks, 5),
	       REAL(r->ns_per_op, 0, 5));
	print_row_end();
}

static void print_histogram(const struct lab_line *lines, size_t n)
{
	static const char *const bucket[LAB_RETRY_BUCKETS] = {"0",   "1",    "2",     "3-4",
							      "5-8", "9-16", "17-32", "more"};

	printf("\n%-11s", "retries/op");
	for (size_t b = 0; b < LAB_RETRY_BUCKETS; b++)
		printf(" %7s", bucket[b]);
	putchar('\n');
	for (size_t i = 0; i < n; i++) {
		printf("%-11s", lines[i].driver->name);
		for (size_t b = 0; b < LAB_RETRY_BUCKETS; b++)
			printf(" %7s", COUNT(lines[i].result.histogram[b], 7));
		putchar('\n');
	}
}

void lab_report_rest(const struct lab_options *o, const struct lab_line *lines, size_t n)
{
	print_histogram(lines, n);
	for (size_t i = 0; i < n; i++)
		if (lines[i].result.finding[0])
			printf("\n%s\n", lines[i].result.finding);
	printf("\nThe seed was %" PRIu64 ".\n", o->seed);
}

int lab_report_json(const struct lab_options *o, const struct lab_line *lines, size_t n)
{
	struct json j;

	json_start(&j);
	json_begin_array(&j, "drivers");
	for (size_t i = 0; i < n; i++) {
		const struct lab_result *r = &lines[i].result;

		json_begin_object(&j, NULL);
		json_string(&j, "driver", lines[i].driver->name);
		json_u64(&j, "ops", r->ops);
		json_u64(&j, "faults", r->faults);
		json_u64(&j, "retries", r->retries);
		json_u64(&j, "invalidations", r->invalidations);
		json_u64(&j, "refusals", r->refusals);
		json_u64(&j, "stale", r->stale);
		json_u64(&j, "asserts", r->asserts);
		json_u64(&j, "leaks", r->leaks);
		json_real(&j, "ns_per_op", r->ns_per_op);
		json_begin_array(&j, "retry_histogram");
		for (size_t b = 0; b < LAB_RETRY_BUCKETS; b++)
			json_u64(&j, NULL, r->histogram[b]);
		json_end(&j);
		json_string(&j, "finding", r->finding);
		json_end(&j);
	}
	json_end(&j);
	json_u64(&j, "seed", o->seed);
	json_string(&j, "broke", o->broken ? o->broken : "");
	return json_finish(&j, stdout);
}

int lab_report_verdict(const struct lab_options *o, const struct lab_line *lines, size_t n)
{
	int status = CLI_OK;

	for (size_t i = 0; i < n; i++) {
		const struct lab_result *r = &lines[i].result;
		const char *name = lines[i].driver->name;
		bool found = lab_result_findings(r);

		if (found == !!o->broken)
			continue;
		status = CLI_FAILED;
		if (found)
			cli_say("mrn lab",
				"%s should be right and is not: %" PRIu64
				" stale accesses, %" PRIu64 " assertions failed, %" PRIu64 " leaks",
				name, r->stale, r->asserts, r->leaks);
		else
			cli_say("mrn lab",
				"%s without %s should have been found out: try more --ops", name,
				o->broken);
	}
	return status;
}
