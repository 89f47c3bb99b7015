/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the mrn command prints for people: lines of 80 columns, and rows that are there as soon as they are known.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tools/fixture.h"

#define WIDTH 80

static struct outcome o;

#define CHECK_WIDTH(...)                                                                        \
	do {                                                                                    \
		RUN(&o, __VA_ARGS__);                                                           \
		CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);                   \
		CHECK_MSG(longest_line(o.out) <= WIDTH, "%zu: %s", longest_line(o.out), o.out); \
	} while (0)

TEST(help_fits_80_columns)
{
	CHECK_WIDTH("--help");
	CHECK_WIDTH("bench", "--help");
	CHECK_WIDTH("bench", "core", "--help");
	CHECK_WIDTH("coverage", "--help");
	CHECK_WIDTH("demo", "--help");
	CHECK_WIDTH("lab", "--help");
	CHECK_WIDTH("watch", "--help");
}

TEST(lab_fits_80_columns, .timeout_s = 120)
{
	CHECK_WIDTH("lab", "--ops", "500", "--seed", "1");
}

TEST(bench_fits_80_columns, .timeout_s = 120)
{
	/* The longer of the two, and a minute under a sanitizer. */
	if (!test_is_sanitized())
		CHECK_WIDTH("bench", "core", "--quick", "--max-n", "100", "--rounds", "1");
	CHECK_WIDTH("bench", "hmm", "--quick", "--max-n", "1", "--rounds", "1");
}

/* With the lines on hits and stale transfers. */
TEST(bench_trace_fits_80_columns, .timeout_s = 120)
{
	if (TEST_TSAN)
		SKIP("UCX's way into libc ends a program that ThreadSanitizer has instrumented");
	CHECK_WIDTH("bench", "trace", "--quick", "--case", "storage", "--rounds", "1");
	CHECK(strstr(o.out, "% hits"));
}

/* Reasons are long, and name many causes. */
TEST(coverage_fits_80_columns, .timeout_s = 120)
{
	CHECK_WIDTH("coverage", "--source", "interpose", "--cause", "thread_stack");
	CHECK_WIDTH("coverage", "--cause", "uring_madvise");
	CHECK(strstr(o.out, "\n\n"));
}

/* The table, which ends at the first empty line; sentences follow. */
TEST(demo_fits_80_columns, .timeout_s = 120)
{
	char *end;

	RUN(&o, "demo", "--seconds", "0.2", "--threads", "2");
	end = strstr(o.out, "\n\n");
	CHECK(end);
	*end = '\0';
	CHECK_MSG(longest_line(o.out) <= WIDTH, "%s", o.out);
}

/* ------------------------------------------------------------------------------------- rows at once */

/* A twin lets the pipe put together what was written one after the other. */
static int in_packets = O_DIRECT;

/*
 * How many times the command writes before it ends, into a pipe that keeps what is written by different calls
 * apart. The first ones must begin so.
 */
static unsigned int writes(const char *const *args, const char *first, const char *second)
{
	const char *argv[16] = {getenv("MRN_TOOL")};
	char text[4096];
	unsigned int n = 0;
	int out[2], status;
	ssize_t size;
	pid_t pid;

	if (!argv[0])
		SKIP("MRN_TOOL does not say where the mrn command is");
	for (int i = 0; args[i]; i++)
		argv[i + 1] = args[i];
	if (pipe2(out, in_packets))
		SKIP("no pipes that keep writes apart");
	/* Each packet takes a page at least, and the command is not to wait for us. */
	CHECK(fcntl(out[0], F_SETPIPE_SZ, 1 << 20) >= 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		dup2(out[1], STDOUT_FILENO);
		close(out[0]);
		close(out[1]);
		execv(argv[0], (char **)(uintptr_t)argv);
		_exit(126);
	}
	close(out[1]);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		SKIP("this machine lacks something");
	CHECK_EQ(WEXITSTATUS(status), 0);
	for (; (size = read(out[0], text, sizeof(text) - 1)) > 0; n++) {
		const char *begins = n == 0 ? first : n == 1 ? second : "";

		text[size] = '\0';
		CHECK_MSG(!strncmp(text, begins, strlen(begins)), "%s", text);
		if (n < 2)
			CHECK_MSG(lines(text) == 1, "%s", text);
	}
	close(out[0]);
	return n;
}
#define WRITES(first, second, ...) writes((const char *const[]){__VA_ARGS__, NULL}, first, second)

TEST(lab_prints_each_row_at_once, .timeout_s = 120)
{
	CHECK(WRITES("driver ", "amdgpu_gfx ", "lab", "--ops", "50", "--seed", "1") >= 12);
}
TWIN(lab_prints_each_row_at_once, all_at_once, in_packets = 0);

TEST(coverage_prints_each_row_at_once, .timeout_s = 120)
{
	CHECK(WRITES("cause ", "munmap ", "coverage", "--source", "interpose", "--cause",
		     "munmap") >= 2);
}
TWIN(coverage_prints_each_row_at_once, all_at_once, in_packets = 0);

TEST(bench_prints_each_row_at_once, .timeout_s = 120)
{
	CHECK(WRITES("case ", "range_fault ", "bench", "hmm", "--quick", "--max-n", "1", "--rounds",
		     "1") >= 4);
}

TEST(demo_prints_each_row_at_once, .timeout_s = 120)
{
	CHECK(WRITES("way ", "naive ", "demo", "--seconds", "0.2", "--threads", "2") >= 4);
}
