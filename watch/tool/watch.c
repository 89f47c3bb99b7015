/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn watch: runs a program with the recorder (watch/record) preloaded, and shows what it recorded.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "os/clock.h"
#include "tools/mrn/cli.h"
#include "tools/mrn/progress.h"
#include "watch/tool/options.h"
#include "watch/tool/page.h"
#include "watch/tool/program.h"
#include "watch/tool/session.h"
#include "watch/tool/symbols.h"
#include "watch/tool/tables.h"
#include "watch/tool/trace.h"

#define SAY(...) cli_say("mrn watch", __VA_ARGS__)

/* A file that the options ask for. */
struct output {
	const char *path; /* or NULL */
	FILE *out;
	int (*write)(FILE *out, const struct tally *t, const struct watch_run *run);
};

enum { TRACE, REPORT, JSON, NR_OUTPUTS };

struct watch {
	struct watch_options options;
	struct session session;
	struct tally tally;
	struct watch_run run;
	struct output output[NR_OUTPUTS];
	uint64_t shown; /* events up to a second ago */
};

static void record(void *arg, const struct watch_record *r, const struct watch_lane *lane)
{
	tally_add(arg, r, lane);
}

static void begins(void *arg, uint32_t pid, const struct watch_lane *lane)
{
	struct tally *t = arg;

	sites_begin(&t->sites, pid, lane);
}

static void show(void *arg)
{
	struct watch *w = arg;
	uint64_t events, dropped;
	char bytes[32];

	pthread_mutex_lock(&w->session.reader.lock);
	events = w->tally.events;
	dropped = watch_reader_dropped(&w->session.reader);
	tables_size(bytes, sizeof(bytes), w->tally.bytes);
	pthread_mutex_unlock(&w->session.reader.lock);
	progress_show("%ju invalidations of %s, %ju in the last second, %ju dropped",
		      (uintmax_t)events, bytes, (uintmax_t)(events - w->shown), (uintmax_t)dropped);
	w->shown = events;
}

/* ----------------------------------------------------------------------------------------- before */

/* Two outputs to one file would overwrite each other. */
static bool is_same_file(const struct output *a, const struct output *b)
{
	struct stat x, y;

	return a->out && b->out && !fstat(fileno(a->out), &x) && !fstat(fileno(b->out), &y) &&
	       S_ISREG(x.st_mode) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Opened first, so that a wrong path does not waste a run. */
static int open_outputs(struct output *o)
{
	for (unsigned int i = 0; i < NR_OUTPUTS; i++) {
		if (!o[i].path)
			continue;
		o[i].out = fopen(o[i].path, "we");
		if (!o[i].out) {
			SAY("%s: %s", o[i].path, strerror(errno));
			return WATCH_CANNOT;
		}
		for (unsigned int j = 0; j < i; j++)
			if (is_same_file(&o[i], &o[j])) {
				SAY("%s cannot take two outputs", o[i].path);
				return WATCH_CANNOT;
			}
	}
	return 0;
}

static int prepare(struct watch *w)
{
	const struct watch_options *o = &w->options;
	int r;

	w->session = (struct session){
		.command = "mrn watch",
		.recorder = "libmrn-watch.so",
		.program = o->program,
		.kinds = o->kinds,
		.children = o->children,
		.records = o->records,
		.smaller = "take fewer --records",
		.output_to_error = o->json && !o->json_file,
		.sink = {record, &w->tally, begins, NULL},
	};
	r = session_open(&w->session);
	w->output[TRACE] = (struct output){o->trace, NULL, trace_write};
	w->output[REPORT] = (struct output){o->report, NULL, page_write};
	w->output[JSON] = (struct output){o->json_file, NULL, tables_print_json};
	if (!r)
		r = open_outputs(w->output);
	if (!r)
		r = session_prepare(&w->session);
	if (!r && tally_create(&w->tally, o->trace || o->report)) {
		SAY("no memory for the tables");
		r = WATCH_CANNOT;
	}
	return r;
}

/* ------------------------------------------------------------------------------------------- after */

static int write_output(struct output *o, const struct tally *t, const struct watch_run *run)
{
	int err = o->write(o->out, t, run);

	if (fclose(o->out) && !err)
		err = -errno;
	o->out = NULL;
	if (err)
		SAY("%s: %s", o->path, strerror(-err));
	return err ? WATCH_CANNOT : 0;
}

/* Writes all of them, even if one fails. */
static int write_outputs(struct watch *w)
{
	int r = 0;

	for (unsigned int i = 0; i < NR_OUTPUTS; i++)
		if (w->output[i].out && write_output(&w->output[i], &w->tally, &w->run))
			r = WATCH_CANNOT;
	return r;
}

/* What the recorder has reported from the program. */
static void describe(struct watch *w)
{
	const struct watch_header *h = w->session.reader.header;

	w->run = (struct watch_run){
		.program = w->options.program[0],
		.source = session_sources(&w->session),
		.seconds = (double)(w->session.ended - w->session.began) / 1e9,
		.processes = w->session.reader.processes,
		.reasons = h->reason,
		.runtimes = h->runtimes,
		.dropped = watch_reader_dropped(&w->session.reader),
		.unpaired = watch_reader_unpaired(&w->session.reader),
	};
}

static int tell(struct watch *w)
{
	int r = symbols_name(&w->tally.sites), files = r ? 0 : write_outputs(w);

	if (!r)
		r = tables_print(stderr, &w->tally, &w->run);
	if (!r && w->options.json && !w->options.json_file)
		r = tables_print_json(stdout, &w->tally, &w->run);
	if (r)
		SAY("cannot write the tables: %s", strerror(-r));
	return r ? WATCH_CANNOT : files;
}

static int run(struct watch *w)
{
	int r = prepare(w);

	if (r)
		return r;
	w->tally.epoch = mrn_now_ns();
	r = session_run(&w->session, show, w);
	if (r)
		return r;
	describe(w);
	r = tell(w);
	return r ? r : launch_exit(&w->session.launch);
}

static int watch_command_run(int argc, char **argv)
{
	static struct watch w;
	int status = watch_parse_options(argc, argv, &w.options);

	w.session.reader.fd = -1;
	if (!status)
		status = run(&w);
	for (unsigned int i = 0; i < NR_OUTPUTS; i++)
		if (w.output[i].out)
			fclose(w.output[i].out);
	symbols_forget(&w.tally.sites);
	tally_destroy(&w.tally);
	session_close(&w.session);
	return status;
}

const struct cli_command watch_command = {
	.name = "watch",
	.summary = "run a program and show what changes its address space",
	.run = watch_command_run,
};
