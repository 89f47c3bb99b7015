/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_WATCH_RECORDER_H
#define MRN_WATCH_RECORDER_H

#include <stdbool.h>

/* Records from now on, in a lane of its own, what happens to this process. 0 or -errno. */
int watch_recorder_start(void);

/* The log's header, NULL while there is none; and whether this is not a vfork's child in this process's memory, by its number. */
struct watch_header;
struct watch_header *watch_recorder_header(void);
bool watch_recorder_is(long pid);

/* This process, or a vfork's child in its memory, by its number, goes on unwatched. NULL when that has been told already. */
struct watch_reason *watch_recorder_unfollowed(long pid, const char *text);

/* exec.c: once, before main. */
void watch_exec_start(void);

#endif
