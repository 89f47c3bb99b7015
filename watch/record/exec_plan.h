/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is done about a program that is about to be executed. One that is to be watched gets an environment with the recorder in it,
 * whatever the caller has left out; one that cannot be is left alone: it gets an environment without us, and is counted, with the
 * reason. Without --children this is for the process alone that was asked for: what others execute is theirs.
 *
 * Also in a vfork's child, in a handler of signals and in dispatch's: raw calls, no malloc, and little stack. Once the program has begun
 * to forbid itself calls nothing is looked at.
 */
#ifndef MRN_WATCH_EXEC_PLAN_H
#define MRN_WATCH_EXEC_PLAN_H

#include <stdbool.h>
#include <sys/types.h>

#include "watch/record/environment.h"

struct watch_exec_plan {
	struct watch_environment environment; /* .env is to be executed with */
	bool is_last;			      /* of this thread's */
	bool without;		     /* the environment, as the program would suffer from us */
	bool in_doubt;		     /* of the reason: see watch/shared/unfollowed.h */
	struct watch_reason *reason; /* what it was counted under for that */
};

/* What is to be executed: as of execveat; or by a search for a name. */
struct watch_exec {
	int folder, flags;
	const char *path;
	bool search;
	bool in_child; /* of posix_spawn */
	char *const *env;
};

/* Has this process been told of, as one that executes a program which will not be watched? */
bool watch_exec_is_told(void);

void watch_exec_begin(struct watch_exec_plan *plan, const struct watch_exec *exec);
/* Afterwards, with the child that there is, or 0: an exec that worked never gets here. Keeps errno. */
void watch_exec_end(struct watch_exec_plan *plan, pid_t child);

/*
 * A shell that libc executes inside itself (system, popen), with the environment that there is, is counted where the program has taken the
 * recorder out of that: as this; NULL where there is nothing to be said.
 */
struct watch_reason *watch_exec_by_libc(void);

/* From now on for programs that are executed by the system call, too. Once, before main. */
void watch_exec_plan_start(void);

#endif
