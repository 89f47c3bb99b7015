/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/mrn/cli.h"

void cli_say(const char *command, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", command);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

int cli_flush(FILE *out)
{
	if (!fflush(out) && !ferror(out))
		return 0;
	return errno ? -errno : -EIO;
}

int cli_written(const char *command, const char *what, int err)
{
	if (!err)
		return CLI_OK;
	cli_say(command, "cannot write the %s: %s", what, strerror(-err));
	return CLI_FAILED;
}

/* ---------------------------------------------------------------------------------------- options */

/* What both parsers use: the command's own input, and where to put the words after its options. */
struct common {
	void *input;
	char ***program; /* NULL: no words are allowed */
};

/* Runs before the command's own parser, which is its child and shares its input. */
static error_t parse_common(int key, char *arg, struct argp_state *state)
{
	struct common *c = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = c->input;
		/* A wrong option gets only its one line, not a second one that points to --help. */
		state->err_stream = NULL;
		return 0;
	case ARGP_KEY_ARG:
		if (c->program) {
			*c->program = state->argv + state->next - 1;
			state->next = state->argc;
			return 0;
		}
		cli_say(state->name, "what is \"%s\"? It takes options only; see %s --help", arg,
			state->name);
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int parse_with(const struct argp *argp, int argc, char **argv, unsigned int flags,
		      struct common *c)
{
	const struct argp_child child[] = {{.argp = argp}, {0}};
	const struct argp common = {.parser = parse_common, .children = child};

	return argp_parse(&common, argc, argv, flags, NULL, c) ? CLI_USAGE : 0;
}

int cli_parse(const struct argp *argp, int argc, char **argv, void *input)
{
	struct common c = {input, NULL};

	return parse_with(argp, argc, argv, 0, &c);
}

int cli_parse_program(const struct argp *argp, int argc, char **argv, void *input, char ***program)
{
	struct common c = {input, program};

	*program = argv + argc;
	return parse_with(argp, argc, argv, ARGP_IN_ORDER, &c);
}

/* ----------------------------------------------------------------------------------------- values */

static bool read_number(const char *text, char **end, uint64_t *out)
{
	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoull(text, end, 10);
	return !errno;
}

error_t cli_number(const struct argp_state *state, const char *option, const char *text,
		   uint64_t min, uint64_t max, uint64_t *out)
{
	char *end;

	if (read_number(text, &end, out) && !*end && *out >= min && *out <= max)
		return 0;
	cli_say(state->name, "--%s takes a number from %ju to %ju, not \"%s\"", option,
		(uintmax_t)min, (uintmax_t)max, text);
	return EINVAL;
}

static bool read_unit(const char *text, unsigned int *shift)
{
	static const char units[] = "KMG";

	*shift = 0;
	if (!*text)
		return true;
	for (unsigned int i = 0; units[i]; i++) {
		if (*text == units[i] || *text == units[i] + ('a' - 'A')) {
			*shift = 10 * (i + 1);
			return !text[1];
		}
	}
	return false;
}

error_t cli_size(const struct argp_state *state, const char *option, const char *text, uint64_t min,
		 uint64_t max, uint64_t *out)
{
	unsigned int shift;
	char *end;

	if (read_number(text, &end, out) && read_unit(end, &shift) && *out <= max >> shift) {
		*out <<= shift;
		if (*out >= min)
			return 0;
	}
	cli_say(state->name, "--%s takes a size from %juK to %juK, like 64K or 1M, not \"%s\"",
		option, (uintmax_t)min >> 10, (uintmax_t)max >> 10, text);
	return EINVAL;
}

error_t cli_seconds(const struct argp_state *state, const char *option, const char *text,
		    double max, double *out)
{
	char *end;

	*out = strtod(text, &end);
	if (end != text && !*end && *out > 0 && *out <= max)
		return 0;
	cli_say(state->name,
		"--%s takes a time in seconds, more than 0 and at most %.0f, not \"%s\"", option,
		max, text);
	return EINVAL;
}
