/* SPDX-License-Identifier: BSD-3-Clause */
#include <time.h>

#include "tools/mrn/cli.h"
#include "tools/mrn/demo/options.h"

/* None has a short form. */
enum { SECONDS = 256, THREADS, SIZE, FILE_NAME, SEED, JSON };

static const struct argp_option options[] = {
	{"seconds", SECONDS, "N", 0, "How long each of the three ways runs (5)", 0},
	{"threads", THREADS, "N", 0,
	 "Threads that transfer (4); half as many more change the memory", 0},
	{"size", SIZE, "BYTES", 0, "The largest size of a buffer, with a suffix K or M (256K)", 0},
	{"file", FILE_NAME, "NAME", 0,
	 "The file to transfer to and from, which must not exist and is removed afterwards "
	 "(a temporary one in $TMPDIR or here)",
	 0},
	{"seed", SEED, "N", 0, "The seed of the random numbers (the time)", 0},
	{"json", JSON, NULL, 0, "Print the figures as JSON", 0},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct demo_options *o = state->input;

	switch (key) {
	case SECONDS:
		return cli_seconds(state, "seconds", arg, DEMO_MAX_SECONDS, &o->seconds);
	case THREADS:
		return cli_number(state, "threads", arg, 1, DEMO_MAX_THREADS, &o->threads);
	case SIZE:
		return cli_size(state, "size", arg, DEMO_MIN_SIZE, DEMO_MAX_SIZE, &o->size);
	case FILE_NAME:
		o->file = arg;
		return 0;
	case SEED:
		return cli_number(state, "seed", arg, 0, UINT64_MAX, &o->seed);
	case JSON:
		o->json = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int demo_parse_options(int argc, char **argv, struct demo_options *o)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Transfers between memory and a file through io_uring while the memory changes, "
		       "with buffers registered in three ways, and counts the transfers that moved the "
		       "wrong bytes.\v"
		       "naive registers a buffer once per address; each registers for every transfer; mrn "
		       "keeps registrations and is told when the memory changes.\n\n"
		       "Exits with 0 if naive went wrong and the others did not; 1 if not; 2 for wrong "
		       "options; 77 if this machine lacks something.",
	};

	*o = (struct demo_options){
		.seconds = 5,
		.threads = 4,
		.size = 256 << 10,
		.seed = (uint64_t)time(NULL),
	};
	return cli_parse(&argp, argc, argv, o);
}
