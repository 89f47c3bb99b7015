/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_OS_CLOCK_H
#define MRN_OS_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC, in nanoseconds. */
static inline uint64_t mrn_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Of a time of CLOCK_MONOTONIC. */
static inline bool mrn_is_past(const struct timespec *t)
{
	return (uint64_t)t->tv_sec * 1000000000 + (uint64_t)t->tv_nsec <= mrn_now_ns();
}

#endif
