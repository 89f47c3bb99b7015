/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Findings that somebody has looked at and does not want to see. A file of lines "GRADE:PATTERN": GRADE is use, change,
 * flight or *, PATTERN a glob as in the shell, for a frame of any of the stacks: its function, its module, or both as a
 * report shows them. Empty lines and those that begin with # are passed over.
 */
#ifndef MRN_CHECK_SUPPRESS_H
#define MRN_CHECK_SUPPRESS_H

#include "check/tool/collect.h"

struct suppressions;

/* 0, or an exit status after a sentence on stderr. *out is NULL for no file. */
int suppressions_read(const char *path, struct suppressions **out);
void suppressions_free(struct suppressions *s);

/* True if a line is about the finding, whose sites have been named. */
bool suppressions_name(const struct suppressions *s, const struct sites *sites,
		       const struct collected *item);

#endif
