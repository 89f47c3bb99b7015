/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/mrn/cli.h"
#include "watch/tool/options.h"
#include "watch/shared/kinds.h"

enum { OUTPUT = 'o', REPORT = 256, SOURCE, CHILDREN, RECORDS, JSON };

static char source_help[256];

static const struct argp_option options[] = {
	{"output", OUTPUT, "FILE", 0,
	 "Write a trace for Perfetto or chrome://tracing: JSON, packed by gzip", 0},
	{"report", REPORT, "FILE", 0, "Write a page for a browser: addresses over time", 0},
	{"source", SOURCE, "NAME", 0, source_help, 0},
	{"children", CHILDREN, NULL, 0, "Follow what the program forks and executes", 0},
	{"records", RECORDS, "N", 0,
	 "How many records may wait to be read, for each process (65536)", 0},
	{"json", JSON, "FILE", OPTION_ARG_OPTIONAL,
	 "Write the tables as JSON to FILE, or to standard output; the program's own output then goes to "
	 "standard error",
	 0},
	{0},
};

error_t watch_read_source(const struct argp_state *state, const char *name, uint32_t *kinds)
{
	int named = mrn_kinds_named(name);

	*kinds = watch_kinds() & (named == MRN_SOURCE_AUTO ? MRN_ALL_KINDS : (unsigned int)named);
	if (named < 0)
		cli_say(state->name, "there is no source \"%s\"; see %s --help", name, state->name);
	else if (!*kinds)
		cli_say(state->name,
			"%s sees only ranges that somebody has armed, and a program that "
			"knows nothing of it arms none",
			name);
	return named < 0 || !*kinds ? EINVAL : 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct watch_options *o = state->input;
	error_t err;

	switch (key) {
	case OUTPUT:
		o->trace = arg;
		return 0;
	case REPORT:
		o->report = arg;
		return 0;
	case SOURCE:
		return watch_read_source(state, arg, &o->kinds);
	case CHILDREN:
		o->children = true;
		return 0;
	case RECORDS:
		err = cli_number(state, "records", arg, 16, 1u << 20, &o->records);
		if (err || !(o->records & (o->records - 1)))
			return err;
		cli_say(state->name, "--records takes a power of two, not \"%s\"", arg);
		return EINVAL;
	case JSON:
		o->json = true;
		o->json_file = arg && strcmp(arg, "-") ? arg : NULL;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* "dispatch where it works, else interpose" */
static void write_source_help(void)
{
	char names[128];

	watch_kinds_put_names(names, sizeof(names), watch_kinds(), " where it works, else ");
	snprintf(source_help, sizeof(source_help),
		 "What announces changes: %s (auto); or only the one of this name", names);
}

int watch_parse_options(int argc, char **argv, struct watch_options *o)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.args_doc = "[--] PROGRAM [ARGUMENT...]",
		.doc = "Runs a program and shows what changes its address space: which calls, from where, of "
		       "how many bytes, for how long.\v"
		       "When the program has ended, the tables are printed to standard error.\n\n"
		       "The exit status is the program's own; if a signal has killed it, the same signal "
		       "kills this command. 2: wrong options; 125: the program cannot be watched, or "
		       "an output could not be written; 126: the program cannot be executed; 127: "
		       "there is no such program.",
	};
	int status;

	write_source_help();
	*o = (struct watch_options){.records = 1u << 16, .kinds = watch_kinds()};
	status = cli_parse_program(&argp, argc, argv, o, &o->program);
	if (!status && !*o->program) {
		cli_say(argv[0], "which program? See %s --help", argv[0]);
		status = CLI_USAGE;
	}
	return status;
}
