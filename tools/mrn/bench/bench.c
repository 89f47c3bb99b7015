/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn bench SUITE: measures, and prints a table or JSON.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"
#include "tools/mrn/cli.h"
#include "tools/mrn/json.h"
#include "tools/mrn/print.h"
#include "tools/mrn/progress.h"

enum { ROUNDS = 256, MAX_N, CASE, QUICK, JSON };

static const struct argp_option options[] = {
	{"rounds", ROUNDS, "N", 0, "Rounds; the figures are their medians (9; with --quick 3)", 0},
	{"max-n", MAX_N, "N", 0, "Leave out cases with n above N", 0},
	{"case", CASE, "CASE", 0, "Measure only this case", 0},
	{"quick", QUICK, NULL, 0, "Fewer and shorter rounds, without the longest cases", 0},
	{"json", JSON, NULL, 0, "Print the figures as JSON", 0},
	{0},
};

struct bench_options {
	uint64_t rounds, max_n;
	const char *only;
	bool quick, json;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct bench_options *o = state->input;

	switch (key) {
	case ROUNDS:
		return cli_number(state, "rounds", arg, 1, BENCH_MAX_ROUNDS, &o->rounds);
	case MAX_N:
		return cli_number(state, "max-n", arg, 1, UINT32_MAX, &o->max_n);
	case CASE:
		o->only = arg;
		return 0;
	case QUICK:
		o->quick = true;
		return 0;
	case JSON:
		o->json = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* ------------------------------------------------------------------------------------------- the figures */

/* A longer name has a line to itself. */
#define NAME_WIDTH 20

static void print_heading(void)
{
	printf("%-*s %7s %3s %8s  %-15s %8s %6s %5s", NAME_WIDTH, "case", "n", "thr", "ns", "rival",
	       "ns", "ratio", "noise");
	print_row_end();
}

/* The spread of the rounds, in percent of the median. */
static double spread(double min, double median, double max)
{
	return median > 0 ? (max - min) / median * 100 : 0;
}

static double noise_of(const struct bench_row *r)
{
	double ours = spread(r->min, r->ns, r->max);
	double theirs = spread(r->rival_min, r->rival_ns, r->rival_max);

	return ours > theirs ? ours : theirs;
}

static double share(const struct bench_tally *t)
{
	return t->gets ? (double)t->hits / (double)t->gets : 0;
}

static uint64_t checks(const struct bench_tally *t)
{
	return t->checked + t->stale;
}

static void print_tally(const struct bench_tally *t)
{
	printf("%.1f %% hits", 100 * share(t));
	if (checks(t))
		printf(", %ju/%ju stale", (uintmax_t)t->stale, (uintmax_t)checks(t));
}

/* What the times do not show. */
static void print_tallies(const struct bench_row *r)
{
	const struct bench_tally *ours = &r->tally, *theirs = &r->rival_tally;

	if (!ours->gets)
		return;
	fputs("    ", stdout);
	print_tally(ours);
	if (theirs->gets) {
		fputs(" : ", stdout);
		print_tally(theirs);
	}
	print_row_end();
}

static void print_row(const struct bench_row *r)
{
	static bool has_heading;
	bool fits = strlen(r->name) <= NAME_WIDTH;

	progress_remove();
	if (!has_heading)
		print_heading();
	has_heading = true;
	if (!fits)
		puts(r->name);
	printf("%-*s %7s %3u %8s  %-15s %8s %6s %4s%%", NAME_WIDTH, fits ? r->name : "",
	       COUNT(r->n, 7), r->threads, REAL(r->ns, 1, 8), r->rival, REAL(r->rival_ns, 1, 8),
	       REAL(r->rival_ns / r->ns, 2, 6), REAL(noise_of(r), 0, 4));
	print_row_end();
	print_tallies(r);
}

static void print_rest(const struct bench_table *table)
{
	putchar('\n');
	print_filled(
		"", "",
		"Medians, in nanoseconds per operation of all threads together. Ratio: the rival's "
		"divided by ours. Noise: from the shortest round to the longest, divided by the "
		"median; of both sides, the greater. --json has both.");
	if (table->left_out)
		print_filled("Left out for --quick: ", "  ", table->left_out);
}

static void print_tally_json(struct json *j, const struct bench_tally *t, const char *hits,
			     const char *checked, const char *stale)
{
	if (t->gets)
		json_real3(j, hits, share(t));
	if (checks(t)) {
		json_u64(j, checked, checks(t));
		json_u64(j, stale, t->stale);
	}
}

static int print_json(const struct bench_table *table)
{
	struct json j;

	json_start(&j);
	json_begin_array(&j, "rows");
	for (size_t i = 0; i < table->nr; i++) {
		const struct bench_row *r = &table->row[i];

		json_begin_object(&j, NULL);
		json_string(&j, "case", r->name);
		json_u64(&j, "n", r->n);
		json_u64(&j, "threads", r->threads);
		json_real3(&j, "ns", r->ns);
		json_real3(&j, "min", r->min);
		json_real3(&j, "max", r->max);
		json_string(&j, "rival", r->rival);
		json_real3(&j, "rival_ns", r->rival_ns);
		json_real3(&j, "rival_min", r->rival_min);
		json_real3(&j, "rival_max", r->rival_max);
		json_real3(&j, "ratio", r->rival_ns / r->ns);
		print_tally_json(&j, &r->tally, "hits", "checked", "stale");
		print_tally_json(&j, &r->rival_tally, "rival_hits", "rival_checked", "rival_stale");
		json_end(&j);
	}
	return json_finish(&j, stdout);
}

static void show_progress(const char *name, uint64_t n)
{
	progress_show("%s, n = %ju", name, (uintmax_t)n);
}

/* Messages begin with the name of the running suite. */
static const char *running;

static void say(const char *sentence)
{
	progress_remove();
	cli_say(running, "%s", sentence);
}

/* --------------------------------------------------------------------------------------------- command */

static const struct bench_suite *find_suite(const char *name)
{
	for (size_t i = 0; name && bench_suites[i]; i++)
		if (!strcmp(bench_suites[i]->name, name))
			return bench_suites[i];
	return NULL;
}

static int help(const char *command)
{
	printf("Usage: %s SUITE [OPTION...]\n"
	       "Measures the library and its rivals in turns, in one run.\n\nSuites:\n",
	       command);
	for (size_t i = 0; bench_suites[i]; i++)
		printf("  %-10s %s\n", bench_suites[i]->name, bench_suites[i]->about);
	printf("\n%s SUITE --help prints the options.\n", command);
	return CLI_OK;
}

static int run_suite(const struct bench_suite *suite, const struct bench_options *o,
		     const char *command)
{
	static struct bench_table table;
	char why[256] = "";
	int err;

	table.rounds = o->rounds ? (unsigned int)o->rounds : o->quick ? 3 : 9;
	table.quick = o->quick;
	table.max_n = o->max_n;
	table.only = o->only;
	table.progress = show_progress;
	table.say = say;
	table.show = o->json ? NULL : print_row;
	running = command;
	err = suite->run(&table, why, sizeof(why));
	progress_remove();
	if (err) {
		cli_say(command, "%s", why);
		return err == -EPERM || err == -ENOSYS || err == -EOPNOTSUPP ? CLI_MISSING
									     : CLI_FAILED;
	}
	if (o->only && !table.nr) {
		cli_say(command, "no case %s", o->only);
		return CLI_USAGE;
	}
	errno = 0;
	if (!o->json)
		print_rest(&table);
	return cli_written(command, "figures", o->json ? print_json(&table) : cli_flush(stdout));
}

static int bench_run(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Measures the library and its rivals in turns, in one run.\v"
		       "Exits with 0; 1 if something failed; 2 for wrong options; 77 if this machine lacks "
		       "something.",
	};
	struct bench_options o = {0};
	const struct bench_suite *suite = find_suite(argc > 1 ? argv[1] : NULL);
	const char *command = argv[0];
	char name[64];
	int status;

	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-?")))
		return help(command);
	if (!suite) {
		cli_say(command, "which suite? See %s --help", command);
		return CLI_USAGE;
	}
	snprintf(name, sizeof(name), "%s %s", command, suite->name);
	argv[1] = name;
	status = cli_parse(&argp, argc - 1, argv + 1, &o);
	return status ? status : run_suite(suite, &o, name);
}

const struct cli_command bench_command = {
	.name = "bench",
	.summary = "measure the library beside its rivals",
	.run = bench_run,
};
