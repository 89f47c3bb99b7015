/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_TOOL_WATCH_NOW_H
#define MRN_TOOL_WATCH_NOW_H

#include <stdint.h>
#include <time.h>

/* By the clock that the recorder has, too. */
static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

#endif
