/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn run: executes a program with libraries preloaded that put mrn in place of UCX's hooks, or of libfabric's memory
 * monitor. It becomes the program, so whatever started it (mpirun, a shell) has the program itself. The libraries say on
 * standard error what came of it.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "source/kinds.h"
#include "tools/mrn/cli.h"
#include "tools/mrn/preload.h"
#include "watch/tool/program.h"

#define SAY(...) cli_say("mrn run", __VA_ARGS__)

/* What a library needs in the environment, beside MRN_RUN_SOURCE and MRN_RUN_STATUS. */
struct host {
	const char *name, *library;
	const char *variable, *value,
		*when_named; /* with --for, rather than for all that are here */
};

static const struct host hosts[] = {
	/* Before libucs is loaded: otherwise it replaces functions of libmrn-interpose. */
	{"ucx", "libmrn-ucx-preload.so", "UCX_MEM_MMAP_HOOK_MODE", "none", "none"},
	/* auto: only where libfabric is there at the start. */
	{"libfabric", "libmrn-libfabric-preload.so", "MRN_LIBFABRIC", "auto", "1"},
};
#define NR_HOSTS (sizeof(hosts) / sizeof(hosts[0]))
#define ALL	 "auto"

struct run_options {
	const char *host; /* of hosts, or ALL */
	const char *source;
	bool quiet;
	char **program;
};

/* ------------------------------------------------------------------------------------------- options */

enum { FOR = 256, SOURCE, QUIET };

static const struct argp_option options[] = {
	{"for", FOR, "NAME", 0,
	 "ucx or libfabric: whose cache is told; or those that are installed here (auto)", 0},
	{"source", SOURCE, "NAME", 0,
	 "What announces changes: dispatch where it works, else interpose (auto); or only those named, with + between",
	 0},
	{"quiet", QUIET, NULL, 0, "Say only what went wrong", 0},
	{0},
};

static bool is_host(const char *name)
{
	for (size_t i = 0; i < NR_HOSTS; i++)
		if (!strcmp(name, hosts[i].name))
			return true;
	return !strcmp(name, ALL);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct run_options *o = state->input;

	switch (key) {
	case FOR:
		o->host = arg;
		if (is_host(arg))
			return 0;
		cli_say(state->name, "--for takes ucx, libfabric or auto, not \"%s\"", arg);
		return EINVAL;
	case SOURCE:
		o->source = arg;
		if (mrn_kinds_listed(arg) >= 0)
			return 0;
		cli_say(state->name, "there is no source \"%s\"; see %s --help", arg, state->name);
		return EINVAL;
	case QUIET:
		o->quiet = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* ---------------------------------------------------------------------------------------- environment */

static bool is_asked(const struct run_options *o, const struct host *host)
{
	return strcmp(o->host, ALL) ? !strcmp(o->host, host->name) : preload_has(host->library);
}

static bool set(const struct run_options *o, const struct host *host)
{
	const char *had = getenv(host->variable), *value = host->value;

	if (strcmp(o->host, ALL))
		value = host->when_named;
	if (had && strcmp(had, value))
		SAY("%s was \"%s\" and is \"%s\" now", host->variable, had, value);
	return !setenv(host->variable, value, 1);
}

static int set_environment(const struct run_options *o)
{
	/* libmrn is listed so that the loader need not look for it. */
	const char *names[NR_HOSTS + 3], *last[] = {"libmrn-interpose.so.0", "libmrn.so.0", NULL};
	char list[3 * PATH_MAX], one[PATH_MAX];
	bool ok = true;
	size_t n = 0;

	for (size_t i = 0; i < NR_HOSTS; i++) {
		if (!is_asked(o, &hosts[i]))
			continue;
		names[n++] = hosts[i].library;
		ok = ok && set(o, &hosts[i]);
	}
	if (!n) {
		SAY("neither libmrn-ucx nor libmrn-libfabric is installed here");
		return WATCH_CANNOT;
	}
	memcpy(names + n, last, sizeof(last));
	if (!preload_list("mrn run", names, list, sizeof(list), one, sizeof(one)))
		return WATCH_CANNOT;
	ok = ok && preload_extend("LD_PRELOAD", list, true);
	ok = ok && !setenv("MRN_RUN_SOURCE", o->source, 1);
	ok = ok && !(o->quiet ? unsetenv("MRN_RUN_STATUS") : setenv("MRN_RUN_STATUS", "-", 1));
	if (!ok)
		SAY("no memory");
	return ok ? 0 : WATCH_CANNOT;
}

static int run(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.args_doc = "[--] PROGRAM [ARGUMENT...]",
		.doc = "Runs a program with mrn in place of UCX's hooks, or of libfabric's memory monitor.\v"
		       "Each process that makes a registration cache of UCX's, or has libfabric at its start, says on "
		       "standard error what watches its memory, or why nothing does; and when it ends, what "
		       "came of it. Use it between mpirun and the program.\n\n"
		       "The exit status is the program's own. 2: wrong options; 125: nothing can be preloaded "
		       "into the program; 126: the program cannot be executed; 127: there is no such program.",
	};
	struct run_options o = {.host = ALL, .source = MRN_AUTO};
	char path[PATH_MAX];
	int r = cli_parse_program(&argp, argc, argv, &o, &o.program);

	if (r)
		return r;
	if (!*o.program) {
		SAY("which program? See mrn run --help");
		return CLI_USAGE;
	}
	r = watch_find_program("mrn run", *o.program, path);
	if (!r)
		r = watch_check_program("mrn run", path);
	if (!r)
		r = set_environment(&o);
	if (r)
		return r;
	execvp(path, o.program);
	SAY("%s: %s", *o.program, strerror(errno));
	return WATCH_NO_EXEC;
}

const struct cli_command run_command = {
	.name = "run",
	.summary = "run a program whose UCX or libfabric learns of changes from mrn",
	.run = run,
};
