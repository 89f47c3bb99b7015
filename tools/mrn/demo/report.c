/* SPDX-License-Identifier: BSD-3-Clause */
#include <inttypes.h>
#include <stdio.h>

#include <mrn/io_uring.h>

#include "tools/mrn/cli.h"
#include "tools/mrn/json.h"
#include "tools/mrn/demo/demo.h"
#include "tools/mrn/print.h"

static double ns_per_transfer(const struct demo_figures *f)
{
	return f->transfers ? (double)f->ns / (double)f->transfers : 0;
}

/* ------------------------------------------------------------------------------------------- JSON */

static void put_way(struct json *j, const char *name, const struct demo_figures *f)
{
	json_begin_object(j, NULL);
	json_string(j, "way", name);
	json_u64(j, "transfers", f->transfers);
	json_u64(j, "stale", f->stale);
	json_u64(j, "registrations", f->registrations);
	json_u64(j, "hits", f->hits);
	json_u64(j, "retries", f->retries);
	json_u64(j, "invalidations", f->invalidations);
	json_real(j, "ns_per_transfer", ns_per_transfer(f));
	json_u64(j, "fallbacks", f->fallbacks);
	json_end(j);
}

static void put_coverage(struct json *j, const struct mrn_source *source)
{
	struct mrn_coverage cover;
	uint64_t all;

	mrn_source_coverage(source, &cover);
	all = cover.bracketed | cover.before_return | cover.use_once;
	json_begin_array(j, "coverage");
	for (; all; all &= all - 1)
		json_string(j, NULL, mrn_cover_name(all & -all));
	json_end(j);
}

int demo_report_json(const struct demo_report *report)
{
	struct json j;

	json_start(&j);
	json_begin_array(&j, "ways");
	for (int i = 0; i < DEMO_NR_WAYS; i++)
		put_way(&j, demo_ways[i]->name, &report->figures[i]);
	json_end(&j);
	json_string(&j, "source", mrn_source_name(report->source));
	put_coverage(&j, report->source);
	json_real(&j, "seconds", report->options->seconds);
	json_u64(&j, "threads", report->options->threads);
	json_u64(&j, "size", report->options->size);
	json_u64(&j, "seed", report->options->seed);
	return json_finish(&j, stdout);
}

/* ------------------------------------------------------------------------------------------- text */

void demo_report_heading(void)
{
	printf("%-5s %9s %7s %13s %8s %7s %13s %11s", "way", "transfers", "stale", "registrations",
	       "hits", "retries", "invalidations", "ns/transfer");
	print_row_end();
}

void demo_report_way(const char *way, const struct demo_figures *f)
{
	printf("%-5s %9s %7s %13s %8s %7s %13s %11s", way, COUNT(f->transfers, 9),
	       COUNT(f->stale, 7), COUNT(f->registrations, 13), COUNT(f->hits, 8),
	       COUNT(f->retries, 7), COUNT(f->invalidations, 13), REAL(ns_per_transfer(f), 0, 11));
	print_row_end();
}

static void print_what_happened(const char *way, const struct demo_figures *f)
{
	if (f->stale)
		printf("%s: %" PRIu64 " of %" PRIu64
		       " transfers moved bytes of memory that no longer "
		       "exists; no error was reported.\n",
		       way, f->stale, f->transfers);
	else
		printf("%s: all %" PRIu64 " transfers moved the right bytes.\n", way, f->transfers);
	if (f->fallbacks)
		printf("%s: %" PRIu64 " transfers did without a fixed buffer: %s.\n", way,
		       f->fallbacks, mrn_uring_explain(f->why_fallback));
}

void demo_report_rest(const struct demo_report *report)
{
	putchar('\n');
	for (int i = 0; i < DEMO_NR_WAYS; i++)
		print_what_happened(demo_ways[i]->name, &report->figures[i]);
	printf("Memory was watched by %s. The seed was %" PRIu64 ".\n",
	       mrn_source_name(report->source), report->options->seed);
}

/* ---------------------------------------------------------------------------------------- verdict */

int demo_report_verdict(const struct demo_report *report)
{
	int status = CLI_OK;

	for (int i = 0; i < DEMO_NR_WAYS; i++) {
		const struct demo_figures *f = &report->figures[i];
		const char *way = demo_ways[i]->name;

		if (!f->transfers) {
			cli_say("mrn demo", "%s made no transfer in its time: try --seconds", way);
			status = CLI_FAILED;
		} else if (demo_ways[i] == &demo_naive && !f->stale) {
			cli_say("mrn demo", "%s should have gone wrong and did not: try --seconds",
				way);
			status = CLI_FAILED;
		} else if (demo_ways[i] != &demo_naive && f->stale) {
			cli_say("mrn demo", "%s should never go wrong and did, %" PRIu64 " times",
				way, f->stale);
			status = CLI_FAILED;
		}
	}
	return status;
}
