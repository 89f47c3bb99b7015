/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command: options, the machine, each way in turn, the report.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/mrn/cli.h"
#include "tools/mrn/demo/demo.h"
#include "tools/mrn/demo/options.h"
#include "tools/mrn/progress.h"

const struct demo_way *const demo_ways[DEMO_NR_WAYS] = {&demo_naive, &demo_each, &demo_mrn};

void demo_die(const char *what, int error)
{
	progress_remove();
	cli_say("mrn demo", "%s: %s", what, strerror(error));
	/* Other threads are still at work, and their memory must not go before they do. */
	_exit(CLI_FAILED);
}

/* Makes a file that is gone when the demo ends, however it ends. -1 after a message. */
static int make_file(const char *given)
{
	const char *dir = getenv("TMPDIR");
	char temporary[4096];
	const char *name = given ? given : temporary;
	int fd;

	if (given) {
		fd = open(given, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	} else {
		snprintf(temporary, sizeof(temporary), "%s/mrn-demo-XXXXXX",
			 dir && *dir ? dir : ".");
		fd = mkostemp(temporary, O_CLOEXEC);
	}
	if (fd < 0)
		cli_say("mrn demo", "cannot make the file %s: %s", name, strerror(errno));
	else
		unlink(name);
	return fd;
}

static int run_ways(struct demo_report *report, int file, struct mrn_source *source)
{
	bool json = report->options->json;

	for (int i = 0; i < DEMO_NR_WAYS; i++) {
		struct demo_figures *f = &report->figures[i];

		if (demo_run_way(demo_ways[i], report->options, file, source, f))
			return CLI_FAILED;
		if (!json && !i)
			demo_report_heading();
		if (!json)
			demo_report_way(demo_ways[i]->name, f);
	}
	return CLI_OK;
}

static int print(const struct demo_report *report)
{
	bool json = report->options->json;
	int status;

	errno = 0;
	if (!json)
		demo_report_rest(report);
	status = cli_written("mrn demo", "figures",
			     json ? demo_report_json(report) : cli_flush(stdout));
	return status ? status : demo_report_verdict(report);
}

static int demo_run(int argc, char **argv)
{
	struct demo_options options;
	struct demo_report report = {.options = &options};
	struct mrn_source *source;
	int file, status;

	status = demo_parse_options(argc, argv, &options);
	if (status)
		return status;
	status = demo_machine_prepare(&source);
	if (status)
		return status;
	report.source = source;
	file = make_file(options.file);
	if (file < 0) {
		status = CLI_FAILED;
	} else {
		status = run_ways(&report, file, source);
		close(file);
	}
	if (!status)
		status = print(&report);
	mrn_source_detach(source);
	return status;
}

const struct cli_command demo_command = {
	.name = "demo",
	.summary = "transfer while the memory changes, and count what went wrong",
	.run = demo_run,
};
