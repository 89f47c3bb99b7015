/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Defaults for the sanitizers, so that a test program behaves alike by hand and in a test run. Each runtime looks its
 * own function up by name; the environment is added on top.
 *
 * The exit status is one of our own: AddressSanitizer's default, 1, means a failed check.
 */
#include "tests/harness/test.h"

#include <pthread.h>
#include <setjmp.h>

/* Called before the runtime is ready for instrumented code. */
#define EARLY                                                                                      \
	__attribute__((visibility("default"), used, no_sanitize("address"), no_sanitize("thread"), \
		       no_sanitize("undefined")))

/* test.h defines it in programs with the interposer's mmap. */
extern char test_is_interposed __attribute__((weak));
/* A program defines it if its memory must be used again soon after it is freed. */
extern char test_reuses_memory __attribute__((weak));

const char *__asan_default_options(void);
const char *__lsan_default_options(void);
const char *__tsan_default_options(void);
const char *__ubsan_default_options(void);

EARLY const char *__asan_default_options(void)
{
	if (&test_reuses_memory)
		return "exitcode=66:detect_leaks=1:quarantine_size_mb=0:thread_local_quarantine_size_kb=0";
	return "exitcode=66:detect_leaks=1";
}

EARLY const char *__lsan_default_options(void)
{
	return "exitcode=66";
}

EARLY const char *__tsan_default_options(void)
{
	/*
	 * The symbolizer maps memory while the runtime starts and while it reports, and the interposed mmap would enter
	 * the runtime again. Use addr2line -e PROGRAM OFFSET afterwards.
	 */
	if (&test_is_interposed)
		return "exitcode=66:halt_on_error=1:symbolize=0";
	return "exitcode=66:halt_on_error=1";
}

EARLY const char *__ubsan_default_options(void)
{
	return "exitcode=66:halt_on_error=1:print_stacktrace=1";
}

#if TEST_TSAN
/*
 * A thread's first setjmp has ThreadSanitizer's runtime allocate under a lock that it does not take over a fork: a
 * child in which that would be the first one waits for a thread that is not there. So each thread that forks has made
 * one before.
 */
static void before_fork(void)
{
	sigjmp_buf unused;

	(void)sigsetjmp(unused, 0);
}

__attribute__((constructor)) static void prepare_forks(void)
{
	(void)pthread_atfork(before_fork, NULL, NULL);
}
#endif
