/* SPDX-License-Identifier: BSD-3-Clause */
/* The sanitizers whose runtimes take and give back memory by system calls of their own: to interpose their programs seem to change little. */
#ifndef MRN_WATCH_RUNTIMES_H
#define MRN_WATCH_RUNTIMES_H

/* By the function that each has, and its name. */
#define WATCH_RUNTIMES(X)                  \
	X(__asan_init, "AddressSanitizer") \
	X(__lsan_init, "LeakSanitizer")    \
	X(__msan_init, "MemorySanitizer")  \
	X(__tsan_init, "ThreadSanitizer")

#endif
