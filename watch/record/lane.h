/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This process's place in the log. Only mapped memory is kept: a program may close every descriptor, and change its
 * directory or its environment.
 */
#ifndef MRN_WATCH_LANE_H
#define MRN_WATCH_LANE_H

#include <stdbool.h>
#include <stdint.h>

#include "watch/shared/log.h"

/*
 * Maps the header that the environment names. NULL if there is none, or it is not this build's: then nothing is
 * recorded. Not on the event path.
 */
struct watch_header *watch_log_open(void);

/* Whether a program that this process executes can open the log: 0 or -errno. Raw calls only. */
int watch_log_reach(void);

/* The program that this process has executed has arrived: the lane that it had before has ended. */
void watch_lane_arrive(uint64_t now);

/*
 * Takes a lane for this process, also for a child that fork has just made. 0, or -errno: -EUSERS if all are taken. Raw
 * calls only.
 */
int watch_lane_take(uint64_t now);
/* From now on nothing is recorded: in a forked child, the lane is its parent's. */
void watch_lane_leave(void);

/*
 * Lets the tool look at the code that is mapped, while it is: a program may be short, and its file be replaced at once.
 * Waits for that, for a bounded time. Not on the event path, nor where the program may have forbidden itself calls.
 */
void watch_lane_knock(void);

/* The number in the tool's /proc of this process, or of a vfork's child in its memory; 0: no /proc. Raw calls only. */
uint32_t watch_lane_number(void);
/* True if a process of this number has a lane. */
bool watch_lane_is_taken(uint32_t pid);

/* This process's lane and number, or NULL and 0; and what the lane has besides its ring. On the event path. */
struct watch_lane *watch_lane_mine(void);
uint32_t watch_lane_pid(void);
void *watch_lane_mine_besides(void);

/*
 * executes: notes that a program is being executed, under that token; told: see struct watch_exec_mark. stays: it has
 * failed. On the event path.
 */
void watch_lane_executes(const void *token, const struct watch_record *record, bool told);
void watch_lane_stays(const void *token);

/* Adds a record, or counts it as dropped. On the event path. */
void watch_lane_put(const struct watch_record *record);

#endif
