/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checks and notes: the part of the harness that runs inside tests.
 *
 * vsnprintf is the one libc function here. For integers and strings it neither allocates nor locks,
 * so these functions can be called wherever a test's code can be.
 */
#include "tests/harness/internal.h"
#include "tests/harness/raw.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int report_fd = -1;

void test_report_to(int fd)
{
	report_fd = fd;
}

static void write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		long ret = test_raw4(SYS_write, fd, (long)data, (long)len, 0);

		if (ret == -EINTR)
			continue;
		if (ret <= 0)
			return;
		data += ret;
		len -= (size_t)ret;
	}
}

/* Meson passes the compiler paths relative to the build folder, wherever that is. */
static const char *source_path(const char *file)
{
	const char *tests = strstr(file, "tests/");

	return tests ? tests : file;
}

static void report(char kind, const char *file, int line, const char *fmt, va_list ap)
	__attribute__((format(printf, 4, 0)));

/* Notes are figures, so their place does not matter; failures and skips say where. */
static void report(char kind, const char *file, int line, const char *fmt, va_list ap)
{
	char buf[TEST_RECORD_MAX];
	size_t len = 0;
	size_t i;

	buf[len++] = kind;
	if (kind == TEST_RECORD_FAIL)
		len += (size_t)snprintf(buf + len, sizeof(buf) / 2, "%s:%d: ", source_path(file),
					line);
	vsnprintf(buf + len, sizeof(buf) - len, fmt, ap);
	len += strlen(buf + len);
	for (i = 0; i < len; i++)
		if (buf[i] == '\n')
			buf[i] = ' ';
	/* vsnprintf left room at least for its NUL, which is not needed any more. */
	buf[len++] = '\n';

	if (report_fd >= 0)
		write_all(report_fd, buf, len);
	else
		write_all(STDERR_FILENO, buf + 1, len - 1);
}

static _Noreturn void end_process(int status)
{
	/* Not exit: its handlers may wait for what this thread holds. */
	for (;;)
		test_raw4(SYS_exit_group, status, 0, 0, 0);
}

void test_fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report(TEST_RECORD_FAIL, file, line, fmt, ap);
	va_end(ap);
	end_process(TEST_EXIT_CHECK);
}

void test_skip(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	report(TEST_RECORD_SKIP, file, line, fmt, ap);
	va_end(ap);
	end_process(TEST_EXIT_SKIP);
}

void test_note(const char *file, int line, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	va_start(ap, fmt);
	report(TEST_RECORD_NOTE, file, line, fmt, ap);
	va_end(ap);
	errno = saved;
}

static void format_value(char *buf, size_t size, long long v, bool as_errno)
{
	const char *name = NULL;

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 32)
	if (as_errno && v < 0 && v > -4096)
		name = strerrorname_np((int)-v);
#endif
	if (name)
		snprintf(buf, size, "-%s", name);
	else if (v > 9999 || v < -4095)
		snprintf(buf, size, "%lld (%#llx)", v, (unsigned long long)v);
	else
		snprintf(buf, size, "%lld", v);
}

void test_fail_compare(const char *file, int line, const char *macro, const char *a_text,
		       long long a, const char *b_text, long long b, bool as_errno)
{
	char a_value[64];
	char b_value[64];

	format_value(a_value, sizeof(a_value), a, as_errno);
	format_value(b_value, sizeof(b_value), b, as_errno);
	test_fail(file, line, "%s(%s, %s): %s and %s", macro, a_text, b_text, a_value, b_value);
}
