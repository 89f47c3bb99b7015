/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_WATCH_RECORDER_H
#define MRN_WATCH_RECORDER_H

#include <stdbool.h>

struct mrn_source;

/* From now on records what happens to this process, in a lane of its own. 0 or -errno. */
int watch_recorder_start(void);
/* In a forked child: drops its parent's invalidations in progress; nothing is recorded yet. */
void watch_recorder_forget(void);
/* From now on records a loss of that source, too. 0 or -errno. */
int watch_recorder_watch_loss(struct mrn_source *source);

/*
 * follow.c: the log's header, NULL if there is none; and whether pid is this process, not a vfork's child in its
 * memory.
 */
struct watch_header;
struct watch_header *watch_recorder_header(void);
bool watch_recorder_is(long pid);

/* Counts this process, or a vfork's child in its memory, as going on unwatched. NULL if it has been counted already. */
struct watch_reason *watch_recorder_unfollowed(long pid, const char *text);

/* exec.c: call once, before main. */
void watch_exec_start(void);

#endif
