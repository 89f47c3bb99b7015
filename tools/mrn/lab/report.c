/* SPDX-License-Identifier: BSD-3-Clause */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/mrn/cli.h"
#include "tools/mrn/json.h"
#include "tools/mrn/lab/report.h"

void lab_report_steps(const struct lab_options *o)
{
	for (size_t i = 0; lab_drivers[i]; i++) {
		const struct lab_driver *d = lab_drivers[i];

		if (strcmp(o->driver, "all") && strcmp(o->driver, d->name))
			continue;
		printf("%-12s", d->name);
		for (size_t k = 0; d->steps[k]; k++)
			printf(" %s", d->steps[k]);
		putchar('\n');
	}
}

static void print_figures(const struct lab_line *lines, size_t n)
{
	printf("%-11s %10s %10s %9s %13s %9s %7s %7s %7s\n", "driver", "operations", "faults",
	       "retries", "invalidations", "refusals", "stale", "asserts", "ns/op");
	for (size_t i = 0; i < n; i++) {
		const struct lab_result *r = &lines[i].result;

		printf("%-11s %10" PRIu64 " %10" PRIu64 " %9" PRIu64 " %13" PRIu64 " %9" PRIu64
		       " %7" PRIu64 " %7" PRIu64 " %7.0f\n",
		       lines[i].driver->name, r->ops, r->faults, r->retries, r->invalidations,
		       r->refusals, r->stale, r->asserts, r->ns_per_op);
	}
}

static void print_histogram(const struct lab_line *lines, size_t n)
{
	static const char *const bucket[LAB_RETRY_BUCKETS] = {"0",   "1",    "2",     "3-4",
							      "5-8", "9-16", "17-32", "more"};

	printf("\n%-11s", "retries/op");
	for (size_t b = 0; b < LAB_RETRY_BUCKETS; b++)
		printf(" %9s", bucket[b]);
	putchar('\n');
	for (size_t i = 0; i < n; i++) {
		printf("%-11s", lines[i].driver->name);
		for (size_t b = 0; b < LAB_RETRY_BUCKETS; b++)
			printf(" %9" PRIu64, lines[i].result.histogram[b]);
		putchar('\n');
	}
}

void lab_report_text(const struct lab_options *o, const struct lab_line *lines, size_t n)
{
	print_figures(lines, n);
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
		bool found = r->stale || r->asserts;

		if (found == !!o->broken)
			continue;
		status = CLI_FAILED;
		if (found)
			cli_say("mrn lab",
				"%s should be right and is not: %" PRIu64
				" stale accesses, %" PRIu64 " assertions failed",
				name, r->stale, r->asserts);
		else
			cli_say("mrn lab",
				"%s without %s should have been found out: try more --ops", name,
				o->broken);
	}
	return status;
}
