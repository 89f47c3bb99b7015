/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn lab: runs the drivers that the options name, one after the other.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/mrn/cli.h"
#include "tools/mrn/lab/options.h"
#include "tools/mrn/lab/report.h"
#include "tools/mrn/progress.h"

static void show_progress(void *arg, const struct lab_driver *driver, uint64_t ops,
			  uint64_t findings)
{
	const struct lab_options *o = arg;

	progress_show("%-11s %ju of %ju operations, %ju findings", driver->name, (uintmax_t)ops,
		      (uintmax_t)o->ops, (uintmax_t)findings);
}

/* True if this driver is to run; *step: the step to leave out, or -1. */
static bool is_chosen(const struct lab_options *o, const struct lab_driver *driver, int *step)
{
	*step = o->broken ? lab_find_step(driver, o->broken) : -1;
	if (strcmp(o->driver, "all") && strcmp(o->driver, driver->name))
		return false;
	return !o->broken || *step >= 0;
}

static int run_one(const struct lab_options *o, const struct lab_driver *driver, int step,
		   struct lab_line *line)
{
	const struct lab_config config = {
		.ops = o->ops,
		.threads = (unsigned int)o->threads,
		.seed = o->seed,
		.broken = step,
		.stop_at_finding = o->stop,
		.progress = show_progress,
		.arg = (void *)(uintptr_t)o,
	};
	char why[256] = "";
	int err = lab_run(driver, &config, &line->result, why, sizeof(why));

	progress_remove();
	line->driver = driver;
	if (!err)
		return CLI_OK;
	cli_say("mrn lab", "%s", why);
	return err == -EPERM || err == -ENOSYS || err == -EOPNOTSUPP ? CLI_MISSING : CLI_FAILED;
}

static size_t count_drivers(void)
{
	size_t n = 0;

	while (lab_drivers[n])
		n++;
	return n;
}

static int run_all(const struct lab_options *o, struct lab_line *lines, size_t *n)
{
	int status = CLI_OK, step;

	for (size_t i = 0; lab_drivers[i] && !status; i++) {
		if (!is_chosen(o, lab_drivers[i], &step))
			continue;
		status = run_one(o, lab_drivers[i], step, &lines[*n]);
		if (!status && !o->json && !*n)
			lab_report_heading();
		if (!status && !o->json)
			lab_report_line(&lines[*n]);
		++*n;
	}
	return status;
}

static int show(const struct lab_options *o, const struct lab_line *lines, size_t n)
{
	errno = 0;
	if (!o->json)
		lab_report_rest(o, lines, n);
	return cli_written("mrn lab", "figures",
			   o->json ? lab_report_json(o, lines, n) : cli_flush(stdout));
}

static int lab_command_run(int argc, char **argv)
{
	struct lab_options o;
	struct lab_line *lines;
	size_t n = 0;
	int status = lab_parse_options(argc, argv, &o);

	if (status)
		return status;
	if (o.list_steps) {
		lab_report_steps(&o);
		return CLI_OK;
	}
	lines = calloc(count_drivers(), sizeof(*lines));
	if (!lines) {
		cli_say("mrn lab", "no memory");
		return CLI_FAILED;
	}
	status = run_all(&o, lines, &n);
	if (!status)
		status = show(&o, lines, n);
	if (!status)
		status = lab_report_verdict(&o, lines, n);
	free(lines);
	return status;
}

const struct cli_command lab_command = {
	.name = "lab",
	.summary = "run models of the kernel's drivers in a storm of changes",
	.run = lab_command_run,
};
