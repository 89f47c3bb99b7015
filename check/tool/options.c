/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/tool/options.h"

#include <errno.h>
#include <string.h>

#include "check/shared/kinds.h"
#include "tools/mrn/cli.h"
#include "watch/shared/kinds.h"
#include "watch/tool/options.h"

enum { CHILDREN = 256, JSON, FAIL_ON, EXIT_STATUS, SUPPRESSIONS, MAX, SOURCE };

static const struct argp_option options[] = {
	{"children", CHILDREN, NULL, 0, "Follow what the program forks and executes", 0},
	{"json", JSON, "FILE", 0, "Write the findings to FILE, too, as JSON: one object a line", 0},
	{"fail-on", FAIL_ON, "GRADE[,GRADE...]", 0,
	 "The findings that make this command fail: use, change, flight (use,flight)", 0},
	{"exit-status", EXIT_STATUS, "N", 0,
	 "The exit status if there are such findings and the program itself ended well (66)", 0},
	{"suppressions", SUPPRESSIONS, "FILE", 0,
	 "Leave out findings that FILE names: lines of GRADE:PATTERN, see the manual page", 0},
	{"max", MAX, "N", 0, "Print at most N reports (100)", 0},
	{"source", SOURCE, "NAME", 0,
	 "What announces changes: dispatch where it works, else interpose (auto); or only the one of "
	 "this name",
	 0},
	{0},
};

const char *check_grade_name(unsigned int grade)
{
	static const char *const names[CHECK_NR_GRADES] = {
		[CHECK_USE] = "use", [CHECK_CHANGE] = "change", [CHECK_FLIGHT] = "flight"};

	return grade < CHECK_NR_GRADES ? names[grade] : "unknown";
}

static error_t read_grades(const struct argp_state *state, const char *list, uint32_t *grades)
{
	*grades = 0;
	for (const char *word = list, *end; *word; word = *end ? end + 1 : end) {
		unsigned int g = 0;

		end = strchrnul(word, ',');
		while (g < CHECK_NR_GRADES &&
		       (strncmp(word, check_grade_name(g), (size_t)(end - word)) ||
			check_grade_name(g)[end - word]))
			g++;
		if (g == CHECK_NR_GRADES) {
			cli_say(state->name,
				"--fail-on takes use, change and flight, separated by commas, not "
				"\"%s\"",
				list);
			return EINVAL;
		}
		*grades |= 1u << g;
	}
	return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct check_options *o = state->input;

	switch (key) {
	case CHILDREN:
		o->children = true;
		return 0;
	case JSON:
		o->json_file = arg;
		return 0;
	case FAIL_ON:
		return read_grades(state, arg, &o->fail_on);
	case EXIT_STATUS:
		return cli_number(state, "exit-status", arg, 0, 255, &o->status);
	case SUPPRESSIONS:
		o->suppressions = arg;
		return 0;
	case MAX:
		return cli_number(state, "max", arg, 0, 1000000, &o->max);
	case SOURCE:
		return watch_read_source(state, arg, &o->kinds);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int check_parse_options(int argc, char **argv, struct check_options *o)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.args_doc = "[--] PROGRAM [ARGUMENT...]",
		.doc = "Runs a program and reports where it lets a device use memory that has other pages "
		       "than when it was registered: registered here, changed here, used here.\v"
		       "Each report is printed to standard error when it is found, and how often it was when the "
		       "program has ended.\n\n"
		       "The exit status is the program's own; 66 if it ended well and something was found; if "
		       "a signal has killed the program, the same signal kills this command. 2: wrong "
		       "options; 125: the program cannot be checked, or a file could not be read or "
		       "written; 126: the program cannot be executed; 127: there is no such program.",
	};
	int status;

	*o = (struct check_options){
		.fail_on = 1u << CHECK_USE | 1u << CHECK_FLIGHT,
		.status = 66,
		.max = 100,
		.kinds = watch_kinds(),
	};
	status = cli_parse_program(&argp, argc, argv, o, &o->program);
	if (!status && !*o->program) {
		cli_say(argv[0], "which program? See %s --help", argv[0]);
		status = CLI_USAGE;
	}
	return status;
}
