/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_WATCH_RECORDER_H
#define MRN_WATCH_RECORDER_H

#include <stdbool.h>

struct mrn_source;

/* Records from now on, in a lane of its own, what happens to this process. 0 or -errno. */
int watch_recorder_start(void);
/* In a forked child: nothing of its parent's is under way, and nothing is recorded yet. */
void watch_recorder_forget(void);
/* From then on a loss of that source is recorded, too. 0 or -errno. */
int watch_recorder_watch_loss(struct mrn_source *source);

/* follow.c: the log's header, NULL while there is none; and whether this is not a vfork's child in this process's memory, by its number. */
struct watch_header;
struct watch_header *watch_recorder_header(void);
bool watch_recorder_is(long pid);

/* This process, or a vfork's child in its memory, by its number, goes on unwatched. NULL when that has been told already. */
struct watch_reason *watch_recorder_unfollowed(long pid, const char *text);

/* exec.c: once, before main. */
void watch_exec_start(void);

#endif
