/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCH_CORE_PASSES_H
#define BENCH_CORE_PASSES_H

#include "bench/bench.h"

/* The case two_pass. 0 or -errno. */
int bench_passes(struct bench_table *table);

#endif
