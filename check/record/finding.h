/* SPDX-License-Identifier: BSD-3-Clause */
/* Findings, each kept once in the log, with a count. On the event path. */
#ifndef MRN_CHECK_FINDING_H
#define MRN_CHECK_FINDING_H

#include <stddef.h>

#include "check/shared/log.h"

/* Adds one; its members from grade on are set, but those of the thread. Without room it is counted as such. */
void check_finding_add(const struct check_finding *finding, const char *op);

/* Adds 1 to a count of the log's. */
#define CHECK_COUNT(name) check_count(offsetof(struct check_log, counts.name))
void check_count(size_t member);

#endif
