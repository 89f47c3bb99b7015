/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Stacks, each kept once in the log, so that a million registrations from one place take no more room than one. On the
 * event path.
 */
#ifndef MRN_CHECK_DEPOT_H
#define MRN_CHECK_DEPOT_H

#include <stdint.h>

/* The log's part of this process, or NULL. */
struct check_log *check_log_mine(void);

/* The number of the caller's stack; 0 without a log or room. */
uint32_t check_depot_take(void);

#endif
