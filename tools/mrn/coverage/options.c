/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>

#include "tools/mrn/cli.h"
#include "tools/mrn/coverage/coverage.h"

/* None has a short form. */
enum { SOURCE = 256, CAUSE, JSON };

static const struct argp_option options[] = {
	{"source", SOURCE, "NAME", 0,
	 "Try only this source: " MRN_KIND_WORDS MRN_AUTO ", or all (all)", 0},
	{"cause", CAUSE, "NAME", 0, "Try only this cause, by its name in the table", 0},
	{"json", JSON, NULL, 0, "Print the verdicts as JSON", 0},
	{0},
};

static error_t choose_source(struct argp_state *state, const char *name, struct coverage_options *o)
{
	bool all = !strcmp(name, "all"), any = false;

	for (unsigned int i = 0; i < COVERAGE_SOURCES; i++) {
		o->source[i] = all || !strcmp(name, coverage_source(i));
		any |= o->source[i];
	}
	if (any)
		return 0;
	cli_say(state->name,
		"there is no source \"%s\"; there are " MRN_KIND_WORDS MRN_AUTO ", and all", name);
	return EINVAL;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct coverage_options *o = state->input;

	switch (key) {
	case SOURCE:
		return choose_source(state, arg, o);
	case CAUSE:
		o->cause = cause_find(arg);
		if (o->cause)
			return 0;
		cli_say(state->name, "there is no cause \"%s\"; the table has their names", arg);
		return EINVAL;
	case JSON:
		o->json = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int coverage_parse_options(int argc, char **argv, struct coverage_options *o)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Makes each change that a process can make to its own memory, under each source, and "
		       "shows how it is announced.\v"
		       "bracketed: from before the change until after it. before_return: by the time the "
		       "call has returned. use_once: seen, but registrations there are no longer kept. "
		       "missed: not seen, or something was stale afterwards. unsupported: this machine "
		       "lacks the cause or the source. What is caught was tried with real pins, and with a "
		       "second thread that registers during the change.\n\n"
		       "Exits with 0 if all was tried, whatever the verdicts; 1 if not; 2 for wrong "
		       "options; 77 if this machine lacks something.",
	};

	*o = (struct coverage_options){.source = {[0 ... COVERAGE_SOURCES - 1] = true}};
	return cli_parse(&argp, argc, argv, o);
}
