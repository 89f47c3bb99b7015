/* SPDX-License-Identifier: BSD-3-Clause */
/* main() of every test program: chooses tests, runs each in its process, reports in TAP. */
#include "tests/harness/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The linker's bounds of the section that TEST and TWIN fill. */
extern struct test_case *__start_test_cases[] __attribute__((visibility("hidden")));
extern struct test_case *__stop_test_cases[] __attribute__((visibility("hidden")));

/* Sanitized code is several times slower; its deadlines follow. */
#define SANITIZED_SCALE 4

struct options {
	bool list;
	bool slow;
	bool verbose;
	const char *run;
	int report_fd;
	char **patterns;
	int nr_patterns;
};

static const char usage[] =
	"usage: %s [--list] [--slow] [-v] [PATTERN]...\n"
	"       %s --run NAME\n"
	"  --list      print the names of the chosen tests\n"
	"  --slow      choose slow tests too, and for what they do, no quicker one\n"
	"              (also: MRN_SUITE=all in the environment)\n"
	"  -v          show the output of tests that pass, too\n"
	"  --run NAME  run one test in this very process, for a debugger\n"
	"  PATTERN     choose by name; * and ? match as in the shell\n";

static bool is_slow(const struct test_case *t)
{
	return t->slow || (t->twin_of && t->twin_of->slow);
}

static bool is_quick_only(const struct test_case *t)
{
	return t->quick_only || (t->twin_of && t->twin_of->quick_only);
}

static unsigned int timeout_of(const struct test_case *t)
{
	unsigned int s = t->timeout_s;

	if (s == 0 && t->twin_of)
		s = t->twin_of->timeout_s;
	if (s == 0)
		s = TEST_TIMEOUT_S;
	/* Where a deadline is what catches, a later one catches nothing more. */
	return test_is_sanitized() && !t->accept_timeout ? s * SANITIZED_SCALE : s;
}

static bool is_named(const struct test_case *t, const struct options *opt)
{
	int i;

	for (i = 0; i < opt->nr_patterns; i++) {
		if (fnmatch(opt->patterns[i], t->name, 0) == 0)
			return true;
		/* A test's name stands for its twins as well. */
		if (t->twin_of && fnmatch(opt->patterns[i], t->twin_of->name, 0) == 0)
			return true;
	}
	return opt->nr_patterns == 0;
}

static bool is_chosen(const struct test_case *t, const struct options *opt)
{
	return is_named(t, opt) && (opt->slow ? !is_quick_only(t) : !is_slow(t));
}

static int compare_place(const void *a, const void *b)
{
	const struct test_case *x = *(struct test_case *const *)a;
	const struct test_case *y = *(struct test_case *const *)b;
	int ret = strcmp(x->file, y->file);

	return ret ? ret : x->line - y->line;
}

static void emit_comment(const char *line, void *arg)
{
	(void)arg;
	printf("#   %s\n", line);
}

static void emit_record(const char *line, void *arg)
{
	(void)arg;
	/* The skip's reason is on the result line. */
	if (line[0] == TEST_RECORD_FAIL || line[0] == TEST_RECORD_NOTE)
		printf("# %s\n", line + 1);
}

/* The text of the first record of a kind. */
struct find {
	char kind;
	bool found;
	char text[TEST_RECORD_MAX];
};

static void find_record(const char *line, void *arg)
{
	struct find *f = arg;

	if (f->found || line[0] != f->kind)
		return;
	f->found = true;
	snprintf(f->text, sizeof(f->text), "%s", line + 1);
}

static struct find find_kind(const struct test_outcome *out, char kind)
{
	struct find f = {.kind = kind};

	test_text_lines(&out->records, find_record, &f);
	return f;
}

static bool passed(const struct test_outcome *out)
{
	return out->ending == TEST_ENDED_EXIT && out->code == 0;
}

static bool skipped(const struct test_outcome *out)
{
	return out->ending == TEST_ENDED_EXIT && out->code == TEST_EXIT_SKIP;
}

/* How a test that neither passed nor skipped ended, in words. */
static void describe(const struct test_outcome *out, char *buf, size_t size)
{
	const char *abbrev;

	switch (out->ending) {
	case TEST_ENDED_TIMEOUT:
		snprintf(buf, size, "timed out after %d s", out->code);
		return;
	case TEST_ENDED_SIGNAL:
		abbrev = sigabbrev_np(out->code);
		snprintf(buf, size, "killed by SIG%s (%d)", abbrev ? abbrev : "?", out->code);
		return;
	case TEST_ENDED_EXIT:
		break;
	}
	if (out->code == TEST_EXIT_SANITIZER && test_is_sanitized())
		snprintf(buf, size, "stopped by the sanitizer");
	else if (out->code == TEST_EXIT_CHECK && find_kind(out, TEST_RECORD_FAIL).found)
		snprintf(buf, size, "a check failed");
	else
		snprintf(buf, size, "exited with status %d, and no failed check", out->code);
}

/*
 * True if the breakage showed in a way that the twin accepts. In a sanitized build the sanitizer may see it before the
 * check does.
 */
static bool caught(const struct test_case *t, const struct test_outcome *out)
{
	switch (out->ending) {
	case TEST_ENDED_TIMEOUT:
		return t->accept_timeout;
	case TEST_ENDED_SIGNAL:
		return t->accept_abort && out->code == SIGABRT;
	case TEST_ENDED_EXIT:
		break;
	}
	if (out->code == TEST_EXIT_SANITIZER)
		return test_is_sanitized();
	return out->code == TEST_EXIT_CHECK && find_kind(out, TEST_RECORD_FAIL).found;
}

/* Half of its time on this machine is all of it on one that is half as fast: to be seen before that one fails. */
static void tell_time(const struct test_case *t, const struct test_outcome *out)
{
	const unsigned int s = timeout_of(t);

	if (out->ending != TEST_ENDED_TIMEOUT && out->ms > s * 500)
		printf("# took %u s of its %u s\n", out->ms / 1000, s);
}

/* Print the result and return whether it counts as a success. */
static bool judge(const struct test_case *t, const struct test_outcome *out, int number,
		  bool verbose)
{
	char how[128];
	bool ok;

	if (skipped(out)) {
		struct find reason = find_kind(out, TEST_RECORD_SKIP);

		printf("ok %d - %s # SKIP %s\n", number, t->name,
		       reason.found ? reason.text : "(no reason given)");
		test_text_lines(&out->records, emit_record, NULL);
		return true;
	}
	ok = t->twin_of ? caught(t, out) : passed(out);
	printf("%s %d - %s\n", ok ? "ok" : "not ok", number, t->name);
	if (t->twin_of && passed(out)) {
		printf("# not caught: the test passes although it is broken\n");
	} else if (!passed(out)) {
		describe(out, how, sizeof(how));
		printf("# %s%s\n", ok ? "caught: " : "", how);
	}
	tell_time(t, out);
	test_text_lines(&out->records, emit_record, NULL);
	if (!ok || verbose)
		test_text_lines(&out->output, emit_comment, NULL);
	return ok;
}

static int run_chosen(const struct options *opt)
{
	static struct test_outcome out;
	struct test_case **p;
	int planned = 0;
	int number = 0;
	int failed = 0;

	for (p = __start_test_cases; p < __stop_test_cases; p++)
		planned += is_chosen(*p, opt);

	printf("TAP version 13\n1..%d\n", planned);
	test_process_tie_signals();
	for (p = __start_test_cases; p < __stop_test_cases; p++) {
		int ret;

		if (!is_chosen(*p, opt))
			continue;
		ret = test_process_run(*p, timeout_of(*p), &out);
		if (ret < 0) {
			printf("Bail out! cannot run a test: %s\n", strerror(-ret));
			return TEST_EXIT_CHECK;
		}
		failed += !judge(*p, &out, ++number, opt->verbose);
		fflush(stdout);
	}
	return failed ? TEST_EXIT_CHECK : 0;
}

static int list_chosen(const struct options *opt)
{
	struct test_case **p;

	for (p = __start_test_cases; p < __stop_test_cases; p++)
		if (is_chosen(*p, opt))
			puts((*p)->name);
	return 0;
}

static int run_here(const struct options *opt)
{
	struct test_case **p;

	for (p = __start_test_cases; p < __stop_test_cases; p++) {
		if (strcmp((*p)->name, opt->run) != 0)
			continue;
		test_report_to(opt->report_fd);
		test_has_time(timeout_of(*p));
		/* Programs that the test starts must not have it. */
		if (opt->report_fd >= 0)
			fcntl(opt->report_fd, F_SETFD, FD_CLOEXEC);
		(*p)->body();
		/* exit, not _exit: destructors are part of the test, and so is the leak check. */
		return 0;
	}
	fprintf(stderr, "no test has the name %s\n", opt->run);
	return TEST_EXIT_USAGE;
}

/* A misspelt name must not look like success. */
static bool some_named(const struct options *opt)
{
	struct test_case **p;

	for (p = __start_test_cases; p < __stop_test_cases; p++)
		if (is_named(*p, opt))
			return true;
	return false;
}

/* Not getopt: patterns may stand between options, and three long options need no machinery. */
static bool parse(int argc, char **argv, struct options *opt)
{
	const char *suite = getenv("MRN_SUITE");
	int i;

	opt->slow = suite && strcmp(suite, "all") == 0;
	opt->report_fd = -1;
	opt->patterns = argv;
	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--list") == 0)
			opt->list = true;
		else if (strcmp(argv[i], "--slow") == 0)
			opt->slow = true;
		else if (strcmp(argv[i], "-v") == 0)
			opt->verbose = true;
		else if (strcmp(argv[i], "--run") == 0 && i + 1 < argc)
			opt->run = argv[++i];
		else if (strcmp(argv[i], "--report") == 0 && i + 1 < argc)
			opt->report_fd = atoi(argv[++i]);
		else if (argv[i][0] == '-')
			return false;
		else
			opt->patterns[opt->nr_patterns++] = argv[i];
	}
	return true;
}

int main(int argc, char **argv)
{
	struct options opt = {0};
	const char *program = argv[0];

	if (!parse(argc, argv, &opt)) {
		fprintf(stderr, usage, program, program);
		return TEST_EXIT_USAGE;
	}
	if (opt.run)
		return run_here(&opt);
	if (!some_named(&opt)) {
		printf("Bail out! no test has such a name\n");
		return TEST_EXIT_USAGE;
	}
	qsort(__start_test_cases, (size_t)(__stop_test_cases - __start_test_cases),
	      sizeof(*__start_test_cases), compare_place);
	return opt.list ? list_chosen(&opt) : run_chosen(&opt);
}
