/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which processes run unwatched, and why: a list of sentences in the header of the log, each with a number of
 * processes. Any process adds to it, also a vfork's child. A sentence whose process is killed while writing it is not
 * shown; the last place collects those without room.
 */
#ifndef MRN_WATCH_UNFOLLOWED_H
#define MRN_WATCH_UNFOLLOWED_H

#include <stdbool.h>

#include "watch/shared/log.h"

/* Counts one more process for this reason. On the event path. */
struct watch_reason *watch_unfollowed_add(struct watch_header *header, const char *text);
/* Counts it back. */
void watch_unfollowed_take_back(struct watch_reason *reason);

/*
 * A static program may load another one itself, as valgrind does. So if process pid (by the tool's number) gets a lane
 * after all, it is counted back, as long as there is room to remember it.
 */
void watch_unfollowed_doubt(struct watch_header *header, uint32_t pid, struct watch_reason *reason);
/* False if it was not in doubt. */
bool watch_unfollowed_arrives(struct watch_header *header, uint32_t pid);

/* What it means that the log could not be opened, or had no lane (watch/record/lane.h): err is negative. */
void watch_unfollowed_say_log(int err, char *text, size_t size);

#endif
