/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file that a command names, and whether a library can be preloaded into it.
 */
#ifndef MRN_WATCH_PROGRAM_H
#define MRN_WATCH_PROGRAM_H

#include <limits.h>

/* As env and timeout use them: different from most programs' own statuses. */
enum {
	WATCH_CANNOT = 125,  /* nothing can be preloaded into it, or the tool failed */
	WATCH_NO_EXEC = 126, /* it exists and cannot be executed */
	WATCH_NO_FILE = 127,
};

/* command: whose sentences these are, as "mrn watch". */

/* Looks a program up in PATH, as a shell does. 0 and its path, or one of the above after a sentence on stderr. */
int watch_find_program(const char *command, const char *name, char path[PATH_MAX]);

/* 0, or WATCH_CANNOT after a sentence on stderr that says why: static, setuid, for another machine. */
int watch_check_program(const char *command, const char *path);

#endif
