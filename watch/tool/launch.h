/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs the program, and stays out of the way: it has this process's terminal, group, descriptors, and
 * the signals that whoever started us has set up. Signals that are sent to this process go on to it;
 * those of the terminal it gets by itself.
 */
#ifndef MRN_WATCH_LAUNCH_H
#define MRN_WATCH_LAUNCH_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "watch/shared/log.h"

struct launch {
	pid_t pid;
	int status; /* waitpid's, once it has ended */
	/* What was set up before us, and is the program's. */
	sigset_t mask;
	struct sigaction on_child;
	bool output_to_error; /* the program's standard output, for ours is wanted for something else */
};

/* Before any thread is started: from here on signals are kept for launch_wait. */
void launch_prepare(struct launch *l);

/*
 * Starts the program at path, with our libraries before those of LD_PRELOAD, which header is told. 0, or an
 * exit status after a sentence on stderr.
 */
int launch_start(struct launch *l, const char *path, char **argv, struct watch_header *header,
		 const char *log_name);

/* Until it has ended; each second, and only while it runs in the foreground, calls tick(arg). */
void launch_wait(struct launch *l, void (*tick)(void *arg), void *arg);

/* The exit status that says the same as the program's. Does not return where a signal has killed it. */
int launch_exit(const struct launch *l);

#endif
