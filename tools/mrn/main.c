/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn COMMAND [OPTION...]: each command is one entry of the table below.
 */
#include <mrn/version.h>
#include <stdio.h>
#include <string.h>

#include "tools/mrn/cli.h"

const char *argp_program_version = "mrn " MRN_VERSION;

static const struct cli_command *const commands[] = {
	&bench_command, &check_command, &coverage_command, &demo_command,
	&lab_command,	&run_command,	&watch_command,
};

#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void help(void)
{
	puts("Usage: mrn COMMAND [OPTION...]\n"
	     "Keeps device registrations valid while memory changes.\n"
	     "\n"
	     "Commands:");
	for (size_t i = 0; i < NR_COMMANDS; i++)
		printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
	puts("\n"
	     "Options:\n"
	     "  --help     print this and exit; mrn COMMAND --help prints its options\n"
	     "  --version  print the version and exit");
}

static int run(const struct cli_command *command, int argc, char **argv)
{
	char name[32];

	snprintf(name, sizeof(name), "mrn %s", command->name);
	argv[0] = name;
	return command->run(argc, argv);
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : NULL;

	if (!word) {
		cli_say("mrn", "which command? See mrn --help");
		return CLI_USAGE;
	}
	for (size_t i = 0; i < NR_COMMANDS; i++)
		if (!strcmp(word, commands[i]->name))
			return run(commands[i], argc - 1, argv + 1);
	if (!strcmp(word, "--help") || !strcmp(word, "-?") || !strcmp(word, "help")) {
		help();
		return CLI_OK;
	}
	if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
		puts(argp_program_version);
		return CLI_OK;
	}
	cli_say("mrn", "there is no command \"%s\"; see mrn --help", word);
	return CLI_USAGE;
}
