/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which processes run unwatched, and why: a list of sentences in the header of the log, each with a number of processes. Any
 * process adds to it, also a vfork's child. A sentence whose process is killed while it writes it is not shown; the last place
 * is for those that find no room.
 */
#ifndef MRN_WATCH_UNFOLLOWED_H
#define MRN_WATCH_UNFOLLOWED_H

#include <stdbool.h>

#include "watch/shared/log.h"

/* One process more, for this reason. On the event path. */
struct watch_reason *watch_unfollowed_add(struct watch_header *header, const char *text);
/* It is one less after all. */
void watch_unfollowed_take_back(struct watch_reason *reason);

/*
 * A static program may be one that loads another itself, as valgrind does. So when process pid (the tool's number of it) comes to have
 * a lane after all, it is taken back. As long as there is room to remember it.
 */
void watch_unfollowed_doubt(struct watch_header *header, uint32_t pid, struct watch_reason *reason);
/* False when it was not doubted. */
bool watch_unfollowed_arrives(struct watch_header *header, uint32_t pid);

/* What it means that the log could not be opened, or had no lane (watch/record/lane.h): err is negative. */
void watch_unfollowed_say_log(int err, char *text, size_t size);

#endif
