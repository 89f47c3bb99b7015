/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What mrn bench source asks of mrn-bench-source: which sources the process is to have, from its first request on, and
 * which work to do.
 */
#ifndef BENCH_SOURCE_REQUEST_H
#define BENCH_SOURCE_REQUEST_H

#include <stdint.h>

/* Notifiers that exist all the time, and that no work meets: so filter and index are not empty. */
#define SOURCE_OTHERS 100

enum source_work_kind {
	SOURCE_MAP,	    /* mmap, a write to each page, munmap */
	SOURCE_MAP_WATCHED, /* the same with a notifier on it, inserted, armed and removed each time */
	SOURCE_GETPPID,	    /* by libc's function */
	SOURCE_GETPPID_BARE, /* by an instruction */
	SOURCE_MALLOC,	     /* malloc, a write to the first byte, free */
};

struct source_work {
	uint32_t sources; /* MRN_SOURCE_*; 0: none, and no notifiers */
	uint32_t kind;
	uint32_t threads;
	uint64_t length; /* of a mapping or a block */
	uint64_t ops;	 /* of each thread, in a round */
};

#endif
