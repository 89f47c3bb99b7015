/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The test harness.
 *
 *	TEST(empty_range) { CHECK_ERR(mmu_range_notifier_insert(...), -EINVAL); }
 *	TEST(storm, .timeout_s = 120, .slow = true) { ...; NOTE("rounds %d stale %d", n, stale); }
 *	TWIN(storm, no_retry_check, broken = BROKEN_RETRY_CHECK);
 *
 * Every test runs in a process of its own, under a deadline, and its program speaks TAP. A check
 * may fail in any thread, in a callback, in a signal handler or inside an interposed munmap: it
 * formats into a stack buffer, takes no lock, allocates nothing, writes by a raw system call and
 * ends the process. It does not unwind, so there is nothing a test must release.
 *
 * A twin is a test's known-bad double: the same body after a statement that breaks what the body
 * tests. It passes when a check of the body fails, and so shows that the test can fail.
 */
#ifndef TESTS_HARNESS_TEST_H
#define TESTS_HARNESS_TEST_H

#include <stdbool.h>
#include <stddef.h>

/* gcc has macros for the sanitizers, clang has features. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define TEST_ASAN 1
#else
#define TEST_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define TEST_TSAN 1
#else
#define TEST_TSAN 0
#endif

/* Set by the build; read by the harness, which is compiled once for all programs. */
#ifdef MRN_TEST_INTERPOSED
__attribute__((weak)) char test_is_interposed;
#endif

/* Sanitizers own the address space and are slow: tests shorten their loops, or skip. */
static inline bool test_is_sanitized(void)
{
	return TEST_ASAN || TEST_TSAN;
}

/* A test's name may be followed by designated initialisers of the fields from timeout_s on. */
struct test_case {
	const char *name;
	void (*body)(void);
	const char *file;
	int line;
	const struct test_case *twin_of; /* NULL: not a twin */

	unsigned int timeout_s; /* 0: the twin's original's, else TEST_TIMEOUT_S */
	bool slow;		/* not in the quick suite; a slow test's twins are slow too */
	bool quick_only;	/* only in the quick suite: a slow test does the same, and more */
	bool accept_abort;	/* twins: SIGABRT counts as caught */
	bool accept_timeout;	/* twins: running into the deadline counts as caught */
};

#define TEST_TIMEOUT_S 30

/* A section of pointers is a list that exists before any constructor has run. */
#define TEST_REGISTER_(ident)                         \
	static struct test_case *test_pointer_##ident \
		__attribute__((section("test_cases"), used)) = &test_case_##ident

#define TEST(ident, ...)                                                        \
	static void test_body_##ident(void);                                    \
	static struct test_case test_case_##ident = {.name = #ident,            \
						     .body = test_body_##ident, \
						     .file = __FILE__,          \
						     .line = __LINE__,          \
						     __VA_ARGS__};              \
	TEST_REGISTER_(ident);                                                  \
	static void test_body_##ident(void)

/* Below its TEST, in the same file. Its TAP name is "test/twin". */
#define TWIN(test, twin, statement, ...)                           \
	static void test_body_##test##_twin_##twin(void)           \
	{                                                          \
		statement;                                         \
		test_body_##test();                                \
	}                                                          \
	static struct test_case test_case_##test##_twin_##twin = { \
		.name = #test "/" #twin,                           \
		.body = test_body_##test##_twin_##twin,            \
		.file = __FILE__,                                  \
		.line = __LINE__,                                  \
		.twin_of = &test_case_##test,                      \
		__VA_ARGS__};                                      \
	TEST_REGISTER_(test##_twin_##twin)

#define CHECK(cond)                                                        \
	do {                                                               \
		if (__builtin_expect(!(cond), 0))                          \
			test_fail(__FILE__, __LINE__, "CHECK(%s)", #cond); \
	} while (0)

#define CHECK_MSG(cond, fmt, ...)                                                               \
	do {                                                                                    \
		if (__builtin_expect(!(cond), 0))                                               \
			test_fail(__FILE__, __LINE__, "CHECK(%s): " fmt, #cond, ##__VA_ARGS__); \
	} while (0)

/* Integers and pointers, compared as long long: -1 is not 0xffffffff, whatever C's own rules say. */
#define CHECK_EQ(a, b) TEST_COMPARE_("CHECK_EQ", a, #a, ==, b, #b, false)
#define CHECK_NE(a, b) TEST_COMPARE_("CHECK_NE", a, #a, !=, b, #b, false)
/* The same for "0 or -errno" values, which are printed by name. */
#define CHECK_ERR(expr, want) TEST_COMPARE_("CHECK_ERR", expr, #expr, ==, want, #want, true)

#define FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)
#define SKIP(...) test_skip(__FILE__, __LINE__, __VA_ARGS__)
/* A figure to keep: shown whether the test passes or not. */
#define NOTE(...) test_note(__FILE__, __LINE__, __VA_ARGS__)

#define TEST_NOT_REAL_(x) \
	_Static_assert(__builtin_classify_type(x) != 8, "compare floating point with CHECK")

#define TEST_COMPARE_(macro, a, a_text, op, b, b_text, as_errno)                              \
	do {                                                                                  \
		TEST_NOT_REAL_(a);                                                            \
		TEST_NOT_REAL_(b);                                                            \
		const long long test_a_ = (long long)(a);                                     \
		const long long test_b_ = (long long)(b);                                     \
		if (__builtin_expect(!(test_a_ op test_b_), 0))                               \
			test_fail_compare(__FILE__, __LINE__, macro, a_text, test_a_, b_text, \
					  test_b_, as_errno);                                 \
	} while (0)

/* A folder for the test, which is removed after it; and a path in there. */
const char *test_folder(void);
const char *test_path(char *path, size_t size, const char *name);

_Noreturn void test_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold));
_Noreturn void test_skip(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), cold));
void test_note(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
_Noreturn void test_fail_compare(const char *file, int line, const char *macro, const char *a_text,
				 long long a, const char *b_text, long long b, bool as_errno)
	__attribute__((cold));

#endif /* TESTS_HARNESS_TEST_H */
