/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the subcommands share on the command line: a wrong option is one line on stderr and exit status 2, numbers and
 * sizes are read in one way, and all messages start with the command's name.
 */
#ifndef MRN_TOOL_CLI_H
#define MRN_TOOL_CLI_H

#include <argp.h>
#include <stdint.h>
#include <stdio.h>

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,	 /* what it should show or measure failed */
	CLI_USAGE = 2,	 /* wrong options */
	CLI_MISSING = 77 /* this machine lacks something, and a message says what */
};

struct cli_command {
	const char *name;
	const char *summary;
	/* argv[0] is "mrn NAME". Returns an exit status. */
	int (*run)(int argc, char **argv);
};

extern const struct cli_command bench_command, check_command, coverage_command, demo_command,
	lab_command, run_command, watch_command;

/*
 * Parses argv by argp, whose parser gets input. 0; or CLI_USAGE for a wrong option, or if that parser returns an error;
 * --help prints and exits. Refuses arguments that are no options.
 */
int cli_parse(const struct argp *argp, int argc, char **argv, void *input);
/*
 * The same for a command that runs a program: options end at the first word that is none, or at "--". *program is that
 * word and the rest of argv; empty if there is none.
 */
int cli_parse_program(const struct argp *argp, int argc, char **argv, void *input, char ***program);

/*
 * Reads the value of an option. 0, or EINVAL after one line on stderr that says what the option takes. A size may end
 * in K, M or G.
 */
error_t cli_number(const struct argp_state *state, const char *option, const char *text,
		   uint64_t min, uint64_t max, uint64_t *out);
error_t cli_size(const struct argp_state *state, const char *option, const char *text, uint64_t min,
		 uint64_t max, uint64_t *out);
error_t cli_seconds(const struct argp_state *state, const char *option, const char *text,
		    double max, double *out);

/* Prints one line on stderr, after the name of the command. */
__attribute__((format(printf, 2, 3))) void cli_say(const char *command, const char *format, ...);

/* 0, or the error since errno was set to 0, now or before, as -errno. */
int cli_flush(FILE *out);
/* The exit status once the command's figures, or the like, have been written; says what err was if not 0. */
int cli_written(const char *command, const char *what, int err);

#endif
