/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn watch: runs a program with the recorder (watch/record) preloaded, and shows what it recorded.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/clock.h"
#include "tools/mrn/cli.h"
#include "tools/mrn/progress.h"
#include "watch/tool/launch.h"
#include "watch/tool/reader.h"
#include "watch/tool/options.h"
#include "watch/tool/page.h"
#include "watch/tool/program.h"
#include "watch/tool/symbols.h"
#include "watch/tool/tables.h"
#include "watch/tool/trace.h"
#include "watch/shared/kinds.h"

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
	struct watch_reader reader;
	struct tally tally;
	struct launch launch;
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

	pthread_mutex_lock(&w->reader.lock);
	events = w->tally.events;
	dropped = watch_reader_dropped(&w->reader);
	tables_size(bytes, sizeof(bytes), w->tally.bytes);
	pthread_mutex_unlock(&w->reader.lock);
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

/* The remedy if there can be no log. */
static const char *remedy(int error)
{
	switch (error) {
	case ENOMEM:
		return "raise the limit on addresses (ulimit -v), or take fewer --records";
	case EFBIG:
		return "raise the limit on the size of files (ulimit -f), or take fewer --records";
	case ENOENT:
		return "programs find it by /proc, which has to be mounted";
	case EMFILE:
		return "raise the limit on descriptors (ulimit -n)";
	default:
		return "its memory is a file of memfd_create's";
	}
}

static uint32_t shift_of(uint64_t records)
{
	return 63 - (uint32_t)__builtin_clzll(records);
}

static int prepare(struct watch *w, char path[PATH_MAX])
{
	const struct watch_options *o = &w->options;
	int r = watch_find_program("mrn watch", o->program[0], path);

	if (!r)
		r = watch_check_program("mrn watch", path);
	w->output[TRACE] = (struct output){o->trace, NULL, trace_write};
	w->output[REPORT] = (struct output){o->report, NULL, page_write};
	w->output[JSON] = (struct output){o->json_file, NULL, tables_print_json};
	if (!r)
		r = open_outputs(w->output);
	if (r)
		return r;
	r = watch_reader_create(&w->reader, shift_of(o->records));
	if (!r)
		r = tally_create(&w->tally, o->trace || o->report);
	if (r) {
		SAY("cannot make the log: %s; %s", strerror(-r), remedy(-r));
		return WATCH_CANNOT;
	}
	w->reader.header->children = o->children;
	w->reader.header->kinds = o->kinds;
	return 0;
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

/* "dispatch and interpose", if not all processes got the best. */
static const char *sources(uint32_t which)
{
	static char names[128];

	return watch_kinds_put_names(names, sizeof(names), which, " and ") ? names : "nothing";
}

/* What the recorder has reported from the program. */
static int describe(struct watch *w, uint64_t ended)
{
	const struct watch_header *h = w->reader.header;

	if (h->failed) {
		SAY("the program was not run: %s", h->why);
		return WATCH_CANNOT;
	}
	w->run = (struct watch_run){
		.program = w->options.program[0],
		.source = sources(h->sources),
		.seconds = (double)(ended - w->tally.epoch) / 1e9,
		.processes = w->reader.processes,
		.reasons = h->reason,
		.runtimes = h->runtimes,
		.dropped = watch_reader_dropped(&w->reader),
		.unpaired = watch_reader_unpaired(&w->reader),
	};
	if (!h->attached)
		SAY("the loader did not load the recorder into %s, so nothing was seen",
		    w->run.program);
	return 0;
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

/* If standard input, output or error is closed, our own files must not get its number. Closed again for the program. */
static void fill_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static int run(struct watch *w)
{
	const struct watch_sink sink = {record, &w->tally, begins};
	char path[PATH_MAX], name[64];
	uint64_t ended;
	int r = prepare(w, path);

	if (r)
		return r;
	watch_reader_name(&w->reader, name, sizeof(name));
	launch_prepare(&w->launch);
	w->launch.output_to_error = w->options.json && !w->options.json_file;
	w->tally.epoch = mrn_now_ns();
	r = launch_start(&w->launch, path, w->options.program, w->reader.header, name);
	if (r)
		return r;
	/*
	 * The reader of our tables may have closed its end, or a file may grow too large (ulimit -f); still return the
	 * program's status.
	 */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	r = watch_reader_start(&w->reader, &sink);
	if (r)
		SAY("cannot read what the program does: %s", strerror(-r));
	launch_wait(&w->launch, show, w);
	ended = mrn_now_ns();
	progress_remove();
	watch_reader_finish(&w->reader);
	r = r ? WATCH_CANNOT : describe(w, ended);
	if (!r)
		r = tell(w);
	return r ? r : launch_exit(&w->launch);
}

static int watch_command_run(int argc, char **argv)
{
	static struct watch w;
	int status = watch_parse_options(argc, argv, &w.options);

	w.reader.fd = -1;
	fill_standard_descriptors();
	if (!status)
		status = run(&w);
	for (unsigned int i = 0; i < NR_OUTPUTS; i++)
		if (w.output[i].out)
			fclose(w.output[i].out);
	symbols_forget(&w.tally.sites);
	tally_destroy(&w.tally);
	watch_reader_destroy(&w.reader);
	return status;
}

const struct cli_command watch_command = {
	.name = "watch",
	.summary = "run a program and show what changes its address space",
	.run = watch_command_run,
};
