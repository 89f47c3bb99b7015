/* SPDX-License-Identifier: BSD-3-Clause */
/* What is said at the end: how often something was found, and where. */
#ifndef MRN_CHECK_COUNTS_H
#define MRN_CHECK_COUNTS_H

#include <stdio.h>

#include "check/tool/collect.h"

/* Of what was printed, and found more than once: a line for each place. */
void counts_print(FILE *out, const struct collection *c);

#endif
