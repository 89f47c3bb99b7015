/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that a command runs with a recorder of ours preloaded, and the log that it writes: what mrn watch and mrn
 * check share.
 */
#ifndef MRN_WATCH_SESSION_H
#define MRN_WATCH_SESSION_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "watch/tool/launch.h"
#include "watch/tool/reader.h"

struct session {
	const char *command;  /* begins all sentences: "mrn watch" */
	const char *recorder; /* the library to preload */
	char **program;	      /* and its arguments */
	uint32_t kinds;	      /* MRN_SOURCE_...: the best that works */
	bool children;
	uint64_t records;	/* in a ring, a power of two */
	size_t besides;		/* as for watch_reader_create */
	const char *smaller;	/* how to ask for a smaller log: "take fewer --records"; or NULL */
	bool output_to_error;	/* as in struct launch */
	struct watch_sink sink; /* set it before session_run */
	/* The rest is the session's. */
	struct watch_reader reader;
	struct launch launch;
	char path[PATH_MAX];
	uint64_t began, ended; /* the program, by CLOCK_MONOTONIC */
};

/* Functions that can fail return 0, or an exit status after a sentence on stderr. */

/* Finds the program, and sees to it that it can be run so. Call first, before any file is opened. */
int session_open(struct session *s);
/* Makes the log. */
int session_prepare(struct session *s);
/* Runs the program to its end, and reads what it logs; tick as for launch_wait. */
int session_run(struct session *s, void (*tick)(void *arg), void *arg);
/* May be called at any time. */
void session_close(struct session *s);

/* The sources of all processes, as "dispatch and interpose". */
const char *session_sources(const struct session *s);

#endif
