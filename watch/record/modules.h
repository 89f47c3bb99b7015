/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which code is where, for whoever reads the log when the program has gone. The lane has a list of the
 * executable mappings. It is made at the start, and again when a call comes from none of them, or
 * after a dlclose. What is unmapped is marked: something else may come to lie there. What
 * comes when the list is full has no entry, and what it replaces is marked as well.
 */
#ifndef MRN_WATCH_MODULES_H
#define MRN_WATCH_MODULES_H

#include <stdint.h>

/* Looks at all mappings, and notes what is new. On the event path; does nothing when one is looking already. */
void watch_modules_look(uint64_t now);

/* Makes sure, as far as can be, that the list says where pc belongs. On the event path. */
void watch_modules_need(uint64_t pc, uint64_t now);

/* What was at [start, end) has been unmapped. On the event path. */
void watch_modules_unmapped(uint64_t start, uint64_t end, uint64_t now);

/* Something may lie where something else did. */
void watch_modules_distrust(void);

/* Of a forked child. */
void watch_modules_restart(void);

#endif
