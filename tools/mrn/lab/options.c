/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>
#include <time.h>

#include "lab/run.h"
#include "tools/mrn/cli.h"
#include "tools/mrn/lab/options.h"

/* None has a short form. */
enum { DRIVER = 256, OPS, THREADS, SEED, BREAK, LIST_STEPS, STOP, JSON };

static const struct argp_option options[] = {
	{"driver", DRIVER, "NAME", 0, "The device model, or all (all)", 0},
	{"ops", OPS, "N", 0, "Operations of each driver (100000)", 0},
	{"threads", THREADS, "N", 0,
	 "Threads that work in the driver (2); the device, the CPU and the storm have their own",
	 0},
	{"seed", SEED, "N", 0, "The seed of the random numbers (the time)", 0},
	{"break", BREAK, "STEP", 0,
	 "Leave out this step of the driver's discipline, which the oracle must find", 0},
	{"list-steps", LIST_STEPS, NULL, 0,
	 "Print the drivers' steps, and what is wrong without each; run nothing", 0},
	{"stop", STOP, NULL, 0, "End the run of a driver at its first finding", 0},
	{"json", JSON, NULL, 0, "Print the figures as JSON", 0},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct lab_options *o = state->input;

	switch (key) {
	case DRIVER:
		o->driver = arg;
		if (!strcmp(arg, "all") || lab_find_driver(arg))
			return 0;
		cli_say(state->name, "there is no driver \"%s\"; see %s --list-steps", arg,
			state->name);
		return EINVAL;
	case OPS:
		return cli_number(state, "ops", arg, 1, UINT32_MAX, &o->ops);
	case THREADS:
		return cli_number(state, "threads", arg, 1, LAB_MAX_THREADS, &o->threads);
	case SEED:
		return cli_number(state, "seed", arg, 0, UINT64_MAX, &o->seed);
	case BREAK:
		o->broken = arg;
		return 0;
	case LIST_STEPS:
		o->list_steps = true;
		return 0;
	case STOP:
		o->stop = true;
		return 0;
	case JSON:
		o->json = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* True if the driver knows the step; with "all", if one of them does. */
static bool is_step(const struct lab_options *o)
{
	if (!o->broken)
		return true;
	for (size_t i = 0; lab_drivers[i]; i++)
		if ((!strcmp(o->driver, "all") || !strcmp(o->driver, lab_drivers[i]->name)) &&
		    lab_find_step(lab_drivers[i], o->broken) >= 0)
			return true;
	return false;
}

int lab_parse_options(int argc, char **argv, struct lab_options *o)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Runs models of the kernel's MMU notifier users on managed memory, in a storm of "
		       "changes, under an oracle that notices each stale access.\v"
		       "With --break a driver is careless on purpose, and the oracle must notice.\n\n"
		       "Exits with 0 if nothing was found or, with --break, if a fault was found in every "
		       "driver that has the step; 1 if not; 2 for wrong options; 77 if this machine lacks "
		       "something.",
	};
	int status;

	*o = (struct lab_options){
		.driver = "all",
		.ops = 100000,
		.threads = 2,
		.seed = (uint64_t)time(NULL),
	};
	status = cli_parse(&argp, argc, argv, o);
	if (!status && !is_step(o)) {
		cli_say(argv[0], "there is no step \"%s\" in %s; see %s --list-steps", o->broken,
			strcmp(o->driver, "all") ? o->driver : "any driver", argv[0]);
		status = CLI_USAGE;
	}
	return status;
}
