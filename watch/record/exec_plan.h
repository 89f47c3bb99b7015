/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What to do about a program that is about to be executed. One that is to be watched gets an environment with the
 * recorder, whatever the caller has left out; one that cannot be watched is left alone: it gets an environment without
 * the recorder, and is counted, with the reason. Without --children this applies only to the process that was asked
 * for: what others execute is theirs.
 *
 * Also runs in a vfork's child, in signal handlers and in dispatch's handler: raw calls, no malloc, and little stack.
 * Once the program has begun to forbid itself calls, nothing is examined.
 */
#ifndef MRN_WATCH_EXEC_PLAN_H
#define MRN_WATCH_EXEC_PLAN_H

#include <stdbool.h>
#include <sys/types.h>

#include "watch/record/environment.h"

struct watch_exec_plan {
	struct watch_environment environment; /* pass .env to exec */
	bool is_last;			      /* this thread's, in exec_plan.c */
	bool without;  /* the environment is without the recorder, which would break the program */
	bool in_doubt; /* the reason is in doubt: see watch/shared/unfollowed.h */
	struct watch_reason *reason; /* what it was counted under */
};

/* The program to execute: as for execveat; or by a search for a name. */
struct watch_exec {
	int folder, flags;
	const char *path;
	bool search;
	bool in_child; /* by posix_spawn */
	char *const *env;
};

/* True if this process was counted as one that executes a program which will not be watched. */
bool watch_exec_is_told(void);

void watch_exec_begin(struct watch_exec_plan *plan, const struct watch_exec *exec);
/* Call afterwards, with the child, or 0: an exec that worked never gets here. Keeps errno. */
void watch_exec_end(struct watch_exec_plan *plan, pid_t child);

/*
 * Counts a shell that libc executes inside itself (system, popen), if the program has taken the recorder out of the
 * environment. Returns what it was counted under, or NULL.
 */
struct watch_reason *watch_exec_by_libc(void);

/* From now on also for programs that are executed by system call. Call once, before main. */
void watch_exec_plan_start(void);

#endif
