/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_WATCH_PAGE_H
#define MRN_WATCH_PAGE_H

#include <stdio.h>

#include "watch/tool/tables.h"

/* Writes one page for a browser that needs nothing else. Name the sites before. 0 or -errno. */
int page_write(FILE *out, const struct tally *t, const struct watch_run *run);

#endif
