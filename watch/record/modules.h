/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The code's mappings, for the tool when the program has gone. The lane has a list of the executable mappings, made at
 * the start, and again when a call comes from none of them, or after a dlclose. What is unmapped is marked: something
 * else may be mapped there. What comes when the list is full has no entry, but what it replaces is marked.
 */
#ifndef MRN_WATCH_MODULES_H
#define MRN_WATCH_MODULES_H

#include <stdbool.h>
#include <stdint.h>

#include "watch/record/cfi.h"

/* Looks at all mappings, and notes new ones. On the event path; does nothing if another look is in progress. */
void watch_modules_look(uint64_t now);

/* Makes sure, as far as possible, that the list covers pc. On the event path. */
void watch_modules_need(uint64_t pc, uint64_t now);

/*
 * Finds the unwind table of the module that holds pc; looks for it where that may help. False if there is none, or if
 * the module may have been replaced and nobody may look. On the event path.
 */
bool watch_modules_table(uint64_t pc, struct watch_cfi *cfi);

/* Another number whenever such a table has come or gone; 0 while that is in doubt. */
uint64_t watch_modules_version(void);

/* What was at [start, end) has been unmapped. On the event path. */
void watch_modules_unmapped(uint64_t start, uint64_t end, uint64_t now);

/* Other code may be mapped where some was. */
void watch_modules_distrust(void);

/*
 * From here on code may be unmapped without a word, until the same is said with false; if it never is, for ever. Tables
 * are not used meanwhile, since one that is gone could not be told from one that is there.
 */
void watch_modules_may_leave(bool begins);

/* For a forked child. */
void watch_modules_restart(void);

#endif
