/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_WATCH_RECORDER_H
#define MRN_WATCH_RECORDER_H

/* Records from now on, in a lane of its own, what happens to this process. 0 or -errno. */
int watch_recorder_start(void);

/*
 * The header, when this is the program that was asked for, children are not followed, and so it takes the
 * watching along when it executes another; else NULL. Raw calls only.
 */
struct watch_header;
struct watch_header *watch_recorder_carries_over(void);

/* exec.c: once, before main. */
void watch_exec_start(void);

#endif
