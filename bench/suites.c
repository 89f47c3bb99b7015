/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/suites.h"

#include <stddef.h>

const struct bench_suite *const bench_suites[] = {
	&bench_core,	 &bench_hmm,	&bench_io_uring, &bench_regcache,
	&bench_register, &bench_source, &bench_trace,	 NULL,
};
