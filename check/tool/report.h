/* SPDX-License-Identifier: BSD-3-Clause */
/* Findings for people, and as JSON. */
#ifndef MRN_CHECK_REPORT_H
#define MRN_CHECK_REPORT_H

#include <stdio.h>

#include "check/tool/collect.h"

/* The sites have been named. 0 or -errno. */
int report_print(FILE *out, const struct collection *c, const struct collected *item);
/* One object a line, however many. 0 or -errno. */
int report_print_json(FILE *out, const struct collection *c);

#endif
