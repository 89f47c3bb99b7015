/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs the program, and stays out of the way: it has this process's terminal, group, descriptors, and the signal
 * settings that this process was started with. Signals that are sent to this process are passed on to it; those of the
 * terminal it gets by itself.
 */
#ifndef MRN_WATCH_LAUNCH_H
#define MRN_WATCH_LAUNCH_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "watch/shared/log.h"

struct launch {
	const char *command;  /* begins all sentences: "mrn watch" */
	const char *recorder; /* the library to preload before ours */
	pid_t pid;
	int status; /* waitpid's, once it has ended */
	/* As set before this process changed them; for the program. */
	sigset_t mask;
	struct sigaction on_child;
	bool output_to_error; /* the program's standard output: this process's is needed otherwise */
};

/* Call before any thread is started: from here on signals are kept for launch_wait. */
void launch_prepare(struct launch *l);

/*
 * Starts the program at path, with our libraries in front of those in LD_PRELOAD, and notes them in header. 0, or an
 * exit status after a sentence on stderr.
 */
int launch_start(struct launch *l, const char *path, char **argv, struct watch_header *header,
		 const char *log_name);

/*
 * Waits until it has ended; each second, only while it runs in the foreground, calls tick(arg). Soon afterwards signals that
 * end processes end this one, too, by a thread.
 */
void launch_wait(struct launch *l, void (*tick)(void *arg), void *arg);

/* Returns the program's exit status. If a signal has killed it, does not return: dies of the same one. */
int launch_exit(const struct launch *l);

#endif
