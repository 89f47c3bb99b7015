/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_WATCH_PAGE_H
#define MRN_WATCH_PAGE_H

#include <stdio.h>

#include "watch/tool/tables.h"

/* One page for a browser that needs nothing else. The sites must have been named. 0 or -errno. */
int page_write(FILE *out, const struct tally *t, const struct watch_run *run);

#endif
