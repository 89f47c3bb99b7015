/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn check: runs a program with the checking recorder (check/record) preloaded, and reports what it finds.
 */
#include <errno.h>
#include <inttypes.h>
#include <mrn/source.h>
#include <stdlib.h>
#include <string.h>

#include "check/tool/collect.h"
#include "check/tool/counts.h"
#include "check/tool/options.h"
#include "check/tool/printer.h"
#include "check/tool/report.h"
#include "check/tool/suppress.h"
#include "tools/mrn/cli.h"
#include "watch/tool/program.h"
#include "watch/tool/session.h"
#include "watch/tool/symbols.h"

#define SAY(...) cli_say("mrn check", __VA_ARGS__)

/* Small: the ring holds nothing but what the log's reader expects of one. */
#define RING_SHIFT 4

struct check {
	struct check_options options;
	struct session session;
	struct collection collection;
	struct suppressions *suppressions;
	FILE *json;
	struct printer printer;
};

/* ----------------------------------------------------------------------------------- meanwhile */

static void found(void *arg)
{
	printer_more(arg);
}

static int prepare(struct check *k)
{
	const struct check_options *o = &k->options;
	int r;

	k->session = (struct session){
		.command = "mrn check",
		.recorder = "libmrn-check.so",
		.program = o->program,
		.kinds = o->kinds,
		.children = o->children,
		.records = 1u << RING_SHIFT,
		.besides = sizeof(struct check_log),
		.sink = {.arg = &k->collection, .look = collection_look},
	};
	r = session_open(&k->session);
	if (!r)
		r = suppressions_read(o->suppressions, &k->suppressions);
	if (!r && o->json_file) {
		k->json = fopen(o->json_file, "we");
		if (!k->json) {
			SAY("%s: %s", o->json_file, strerror(errno));
			r = WATCH_CANNOT;
		}
	}
	if (!r)
		r = session_prepare(&k->session);
	if (!r && collection_create(&k->collection, RING_SHIFT, found, &k->printer)) {
		SAY("no memory for the findings");
		r = WATCH_CANNOT;
	}
	k->printer = (struct printer){
		.collection = &k->collection,
		.lock = &k->session.reader.lock,
		.suppressions = k->suppressions,
		.max = o->max,
	};
	printer_create(&k->printer);
	return r;
}

/* ---------------------------------------------------------------------------------------- after */

/* What was not seen. One line each. */
static void print_limits(const struct check *k)
{
	const struct watch_header *h = k->session.reader.header;
	unsigned int running = 0;

	for (int i = 0; i < WATCH_REASONS; i++)
		if (h->reason[i].processes && h->reason[i].state == WATCH_REASON_THERE)
			SAY("%" PRIu32 " %s not be followed: %s", h->reason[i].processes,
			    h->reason[i].processes == 1 ? "process could" : "processes could",
			    h->reason[i].text);
	for (int i = 0; i < WATCH_LANES; i++)
		running += h->lane[i].owner != 0;
	if (running)
		SAY("%u %s when the program had ended: what %s from then on is not seen", running,
		    running == 1 ? "process still ran" : "processes still ran",
		    running == 1 ? "it does" : "they do");
	if (h->lost)
		SAY("from some point on, not all changes were seen: the source lost sight of a thread");
	if (h->sources && !(h->sources & MRN_SOURCE_DISPATCH))
		SAY("without dispatch, calls of io_uring's are seen only if they are made through liburing or "
		    "libc's syscall()");
	if (k->collection.no_memory)
		SAY("the tool had no memory for some findings");
}

static void print_summary(const struct check *k, uint32_t found, uint32_t suppressed)
{
	const struct check_counts *n = &k->collection.counts;

	print_limits(k);
	fprintf(stderr,
		"mrn check: %s, seen by %s: %" PRIu64 " registrations, %" PRIu64
		" changes of registered memory, %" PRIu64 " uses, %" PRIu64 " other transfers",
		k->options.program[0], session_sources(&k->session), n->registrations, n->changes,
		n->uses, n->flights);
	if (n->settled)
		fprintf(stderr, ", %" PRIu64 " times the same page after a change", n->settled);
	fprintf(stderr, "; %" PRIu32 " different finding%s", found, found == 1 ? "" : "s");
	if (suppressed)
		fprintf(stderr, ", %" PRIu32 " suppressed", suppressed);
	fputc('\n', stderr);
#define LOST(name, text) \
	if (n->name)     \
		SAY("%" PRIu64 " %s", n->name, text);
	LOST(no_memory, "registrations could not be followed for want of memory")
	LOST(no_stack, "stacks found no room in the log, so reports lack them")
	LOST(no_finding, "findings found no room in the log")
	LOST(given_up, "transfers could not be followed to their end")
#undef LOST
}

static int write_json(struct check *k)
{
	int err = k->json ? report_print_json(k->json, &k->collection) : 0;

	if (k->json && fclose(k->json) && !err)
		err = -errno;
	k->json = NULL;
	if (err)
		SAY("%s: %s", k->options.json_file, strerror(-err));
	return err ? WATCH_CANNOT : 0;
}

/* True if a finding is such that the command fails. */
static bool fails(const struct check *k)
{
	for (uint32_t i = 0; i < k->collection.nr; i++)
		if (!k->collection.item[i].suppressed &&
		    (k->options.fail_on >> k->collection.item[i].finding.grade & 1))
			return true;
	return false;
}

static void print_counts(const struct check *k)
{
	counts_print(stderr, &k->collection);
	if (k->printer.left_out)
		SAY("%" PRIu64 " more reports were left out; see --max", k->printer.left_out);
}

static int tell(struct check *k)
{
	int r;

	if (k->printer.no_names) {
		SAY("no memory for the names");
		return WATCH_CANNOT;
	}
	r = write_json(k);
	print_counts(k);
	print_summary(k, k->collection.nr - k->printer.suppressed, k->printer.suppressed);
	return k->printer.error || cli_flush(stderr) ? WATCH_CANNOT : r;
}

static void show_nothing(void *arg)
{
	(void)arg;
}

static int run(struct check *k)
{
	int r = prepare(k), status;

	if (r)
		return r;
	r = session_run(&k->session, show_nothing, k);
	printer_finish(&k->printer);
	if (!r)
		r = tell(k);
	if (r)
		return r;
	status = launch_exit(&k->session.launch);
	return status || !fails(k) ? status : (int)k->options.status;
}

static int check_command_run(int argc, char **argv)
{
	static struct check k;
	int status = check_parse_options(argc, argv, &k.options);

	k.session.reader.fd = -1;
	if (!status)
		status = run(&k);
	if (k.json)
		fclose(k.json);
	suppressions_free(k.suppressions);
	symbols_forget(&k.collection.sites);
	collection_destroy(&k.collection);
	session_close(&k.session);
	return status;
}

const struct cli_command check_command = {
	.name = "check",
	.summary = "run a program and report its stale registrations",
	.run = check_command_run,
};
