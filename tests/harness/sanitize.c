/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Defaults for the sanitizers, so that a test program behaves alike by hand and in a test run. Each
 * runtime looks its own function up by name; the environment is added on top.
 *
 * The exit status is one of our own: AddressSanitizer's default, 1, is a failed check's.
 */
#include "tests/harness/test.h"

#define EXPORT __attribute__((visibility("default"), used))

const char *__asan_default_options(void);
const char *__lsan_default_options(void);
const char *__tsan_default_options(void);
const char *__ubsan_default_options(void);

EXPORT const char *__asan_default_options(void)
{
	return "exitcode=66:detect_leaks=1:detect_stack_use_after_return=1";
}

EXPORT const char *__lsan_default_options(void)
{
	return "exitcode=66";
}

EXPORT const char *__tsan_default_options(void)
{
	return "exitcode=66:halt_on_error=1:second_deadlock_stack=1";
}

EXPORT const char *__ubsan_default_options(void)
{
	return "exitcode=66:halt_on_error=1:print_stacktrace=1";
}
