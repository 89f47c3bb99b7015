/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_DEMO_OPTIONS_H
#define MRN_DEMO_OPTIONS_H

#include "tools/mrn/demo/demo.h"

/* 0 or an exit status. */
int demo_parse_options(int argc, char **argv, struct demo_options *options);

#endif
