/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_WATCH_TRACE_H
#define MRN_WATCH_TRACE_H

#include <stdio.h>

#include "watch/tool/tables.h"

/*
 * Writes every event in the Chrome trace event format: a track for each thread, a complete event for each invalidation.
 * Name the sites before. 0 or -errno.
 */
int trace_write(FILE *out, const struct tally *t, const struct watch_run *run);

#endif
