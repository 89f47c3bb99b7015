/* SPDX-License-Identifier: BSD-3-Clause */
/* Findings, each kept once in the log, with a count. On the event path. */
#ifndef MRN_CHECK_FINDING_H
#define MRN_CHECK_FINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check/shared/log.h"

/* Adds one; its members from grade on are set, but those of the thread. Without room it is counted as such. */
void check_finding_add(const struct check_finding *finding, const char *op);
/*
 * The same for one that is not certain yet. Returns its number, for check_finding_close. Without that (the process is gone)
 * it is one that nobody is sure of. 0: too many are open, so it has been added, as if found; close ignores it.
 */
uint32_t check_finding_open(const struct check_finding *finding, const char *op);
enum check_verdict {
	CHECK_NOT_FOUND, /* it is forgotten */
	CHECK_FOUND,	 /* it is added */
	CHECK_UNSURE,	 /* it is added as one of which nobody can say whether it was a change */
};
/* Returns where it is kept, for check_finding_ended, if it is the first of its kind; else 0. */
uint32_t check_finding_close(uint32_t number, enum check_verdict verdict);
/* The registration that it is about has ended, here or (else the stack is not known) elsewhere. 0 is ignored. */
void check_finding_ended(uint32_t kept, bool here);

/* Adds 1 to a count of the log's. */
#define CHECK_COUNT(name) check_count(offsetof(struct check_log, counts.name))
void check_count(size_t member);

#endif
