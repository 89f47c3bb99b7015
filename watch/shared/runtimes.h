/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sanitizers whose runtimes map and unmap memory by system calls of their own: under interpose their programs seem
 * to change little.
 */
#ifndef MRN_WATCH_RUNTIMES_H
#define MRN_WATCH_RUNTIMES_H

/* A function that each runtime has, and its name. */
#define WATCH_RUNTIMES(X)                  \
	X(__asan_init, "AddressSanitizer") \
	X(__lsan_init, "LeakSanitizer")    \
	X(__msan_init, "MemorySanitizer")  \
	X(__tsan_init, "ThreadSanitizer")

#endif
