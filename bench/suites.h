/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCH_SUITES_H
#define BENCH_SUITES_H

#include "bench/bench.h"

extern const struct bench_suite bench_core;
extern const struct bench_suite bench_hmm;
extern const struct bench_suite bench_io_uring;
extern const struct bench_suite bench_regcache;
extern const struct bench_suite bench_register;
extern const struct bench_suite bench_source;
extern const struct bench_suite bench_trace;

#endif
