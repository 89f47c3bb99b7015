/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared by the parts of the harness: check.c in the test, the rest in the runner. */
#ifndef TESTS_HARNESS_INTERNAL_H
#define TESTS_HARNESS_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "tests/harness/test.h"

/*
 * A test reports to its runner in records, one line each and one write each, so that records of
 * several threads do not mix: a kind, then text. Not on stdout, which a test may flood or close.
 */
#define TEST_RECORD_FAIL 'F'
#define TEST_RECORD_SKIP 'S'
#define TEST_RECORD_NOTE 'N'
#define TEST_RECORD_MAX	 1024

/* High enough to stay out of the way of tests that count on low descriptor numbers. */
#define TEST_REPORT_FD_MIN 100

#define TEST_EXIT_CHECK	    1
#define TEST_EXIT_USAGE	    2
#define TEST_EXIT_SANITIZER 66
#define TEST_EXIT_SKIP	    77

/* Keeps the end of what is written to it: the reason is there. */
struct test_text {
	char data[64 * 1024];
	size_t len;
	bool cut;
};

enum test_ending {
	TEST_ENDED_EXIT,    /* code: the exit status */
	TEST_ENDED_SIGNAL,  /* code: the signal */
	TEST_ENDED_TIMEOUT, /* code: the deadline, seconds */
};

struct test_outcome {
	enum test_ending ending;
	int code;
	unsigned int ms;	 /* that it took */
	struct test_text output; /* stdout and stderr */
	struct test_text records;
};

/* check.c: where records go; -1, the default, is plain text on stderr. */
void test_report_to(int fd);
/* sync.c: how long this process's test may take, from now on */
void test_has_time(unsigned int timeout_s);

/* process.c: run a test in a new process; 0, or -errno when there was no process to run it in. */
int test_process_run(const struct test_case *t, unsigned int timeout_s, struct test_outcome *out);
/* process.c: from now on, SIGINT and SIGTERM take the running test down with the runner. */
void test_process_tie_signals(void);

/* folder.c: the folder of a test that has ended, by its process's number */
void test_folder_remove(pid_t pid);

/* text.c */
void test_text_add(struct test_text *text, const char *data, size_t len);
/* Call emit for every line, with the newline cut off. */
void test_text_lines(const struct test_text *text, void (*emit)(const char *line, void *arg),
		     void *arg);

#endif /* TESTS_HARNESS_INTERNAL_H */
