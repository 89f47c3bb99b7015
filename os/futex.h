/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Waiting and waking. Private futexes: mrn's words are never shared between processes. The bitset
 * form takes an absolute time of CLOCK_MONOTONIC.
 */
#ifndef MRN_OS_FUTEX_H
#define MRN_OS_FUTEX_H

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <time.h>

#include "os/syscall.h"

/*
 * Waits while *word == expected. 0 when woken (or for no reason: callers loop), -EAGAIN when the
 * value differs already, -EINTR, -ETIMEDOUT.
 */
static inline int mrn_futex_wait(uint32_t *word, uint32_t expected, const struct timespec *deadline)
{
	return (int)mrn_own6(SYS_futex, (long)word, FUTEX_WAIT_BITSET_PRIVATE, expected,
			     (long)deadline, 0, (long)FUTEX_BITSET_MATCH_ANY);
}

/* The same, for at most ns, below one second. Does not read the clock. */
static inline int mrn_futex_wait_for(uint32_t *word, uint32_t expected, long ns)
{
	struct timespec timeout = {.tv_nsec = ns};

	return (int)mrn_sys4(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, expected, (long)&timeout);
}

/* Wait and wake for words that another process has mapped, too. */
static inline int mrn_futex_shared_wait_for(uint32_t *word, uint32_t expected, long ns)
{
	struct timespec timeout = {.tv_nsec = ns};

	return (int)mrn_sys4(SYS_futex, (long)word, FUTEX_WAIT, expected, (long)&timeout);
}

static inline void mrn_futex_shared_wake(uint32_t *word, int how_many)
{
	mrn_sys3(SYS_futex, (long)word, FUTEX_WAKE, how_many);
}

static inline void mrn_futex_wake(uint32_t *word, int how_many)
{
	mrn_sys3(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, how_many);
}

#endif
