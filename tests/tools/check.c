/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn check: what it prints and returns, and what it needs. The programs are in tests/check/programs: rings.c, if nothing
 * else is said; MRN_CHECK_RINGS says where it is. What is found in which program stands in tests/check/catalogue.def.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness/sync.h"
#include "tests/tools/fixture.h"

static struct outcome o;

static const char *program(const char *name)
{
	const char *path = getenv(name);

	if (!path || !*path)
		SKIP("%s is not set", name);
	return path;
}

static const char *rings(void)
{
	return program("MRN_CHECK_RINGS");
}

static unsigned int times(const char *text, const char *word)
{
	unsigned int n = 0;

	while ((text = strstr(text, word))) {
		text += strlen(word);
		n++;
	}
	return n;
}

static const char *path_of(const char *name)
{
	static char path[2][128];
	static int n;
	char *p = path[n++ % 2];

	return test_path(p, sizeof(path[0]), name);
}

static const char *file_of(const char *name, const char *text)
{
	const char *path = path_of(name);
	FILE *f = fopen(path, "we");

	CHECK(f && fputs(text, f) >= 0 && !fclose(f));
	return path;
}

/* The sum of the findings' counts, and how many there are. */
static int64_t sum_of(const char *path, unsigned int *findings)
{
	FILE *in = fopen(path, "re");
	char *line = NULL;
	size_t room = 0;
	int64_t sum = 0;

	CHECK(in);
	*findings = 0;
	while (getline(&line, &room, in) > 0) {
		struct json_object *finding = json_tokener_parse(line);

		CHECK_MSG(finding, "%s", line);
		sum += figure(finding, "count");
		++*findings;
		json_object_put(finding);
	}
	free(line);
	fclose(in);
	return sum;
}

TEST(wrong_options_are_one_line)
{
	REFUSED("check");
	REFUSED("check", "--nonsense");
	REFUSED("check", "--fail-on", "use,nonsense", "true");
	REFUSED("check", "--fail-on", "us", "true");
	REFUSED("check", "--max", "-1", "true");
	REFUSED("check", "--exit-status", "256", "true");
	REFUSED("check", "--source", "uffd", "true");
}

TEST(the_status_is_the_program_s_or_66)
{
	RUN(&o, "check", "--", rings(), "1", "1", "0", "exit");
	CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
	CHECK_EQ(lines(o.err), 1);
	RUN(&o, "check", "--", rings(), "1", "1", "1", "exit");
	CHECK_MSG(o.status == 66, "%d: %s", o.status, o.err);
	RUN(&o, "check", "--", rings(), "1", "1", "1", "fail");
	CHECK_EQ(o.status, 3);
	RUN(&o, "check", "--exit-status", "9", "--", rings(), "1", "1", "1", "exit");
	CHECK_EQ(o.status, 9);
	RUN(&o, "check", "--fail-on", "change,flight", "--", rings(), "1", "1", "1", "exit");
	CHECK_EQ(o.status, 0);
	CHECK_MSG(strstr(o.err, "1 different finding"), "%s", o.err);
	RUN(&o, "check", "--", "/no/such/program");
	CHECK_EQ(o.status, 127);
	CHECK_EQ(lines(o.err), 1);
}

TEST(a_report_has_three_stacks_with_names)
{
	RUN(&o, "check", "--", rings(), "1", "10", "2", "exit");
	CHECK_EQ(times(o.err, "== mrn check: use: "), 1);
	CHECK_MSG(strstr(o.err, "mrn check: 5 times: the use in "), "%s", o.err);
	CHECK_MSG(strstr(o.err, "used here, by READ_FIXED of ["), "%s", o.err);
	CHECK_MSG(strstr(o.err, "changed here, by map_fixed of ["), "%s", o.err);
	CHECK_MSG(strstr(o.err, "registered here, with io_uring as buffer 0, ["), "%s", o.err);
	if (!getenv("MRN_WATCH_SYMBOLS"))
		SKIP("without libdw there are no names");
	CHECK_EQ(times(o.err, " work in check-rings"), 3);
	CHECK_EQ(times(o.err, " main in check-rings"), 3);
	/* And where it is counted. */
	CHECK_EQ(times(o.err, "  use in check-rings"), 1);
	CHECK_EQ(times(o.err, " map in check-rings"), 1);
}

TEST(a_change_is_told_with_the_end_of_its_registration)
{
	RUN(&o, "check", "--", program("MRN_CHECK_GPU"), "driver-changed");
	CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
	CHECK_EQ(times(o.err, "== mrn check: change: "), 1);
	CHECK_EQ(times(o.err, "  ended here, "), 1);
	if (!getenv("MRN_WATCH_SYMBOLS"))
		SKIP("without libdw there are no names");
	CHECK_EQ(times(o.err, " steps_unregister in check-gpu"), 1);
}

/* Reads until the text is there, or the end. */
static void read_until(int fd, char *text, size_t size, const char *wanted)
{
	size_t n = 0;
	ssize_t more;

	while (!strstr(text, wanted) && (more = read(fd, text + n, size - 1 - n)) > 0) {
		n += (size_t)more;
		text[n] = '\0';
	}
}

/* Starts the tool with a program that has one finding, and then waits for its standard input; in and err are pipes. */
static pid_t start_waiting(const int in[2], const int err[2])
{
	const char *tool = program("MRN_TOOL"), *waits = rings();
	pid_t pid = fork();

	if (!pid) {
		dup2(in[0], STDIN_FILENO);
		dup2(err[1], STDERR_FILENO);
		for (int i = 0; i < 2; i++) {
			close(in[i]);
			close(err[i]);
		}
		execl(tool, tool, "check", "--", waits, "1", "1", "1", "waits", (char *)NULL);
		_exit(126);
	}
	CHECK(pid > 0);
	return pid;
}

TEST(a_report_is_there_while_the_program_runs)
{
	static char live[8192], rest[8192];
	int in[2], err[2], status;
	pid_t pid;

	CHECK(!pipe(in) && !pipe(err));
	pid = start_waiting(in, err);
	close(in[0]);
	close(err[1]);
	/* The program goes on when the last part of the report has been read. */
	read_until(err[0], live, sizeof(live), "registered here");
	CHECK_MSG(strstr(live, "== mrn check: use: "), "%s", live);
	CHECK_EQ(write(in[1], "x", 1), 1);
	read_until(err[0], rest, sizeof(rest), "no such text");
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 66, "%#x", status);
	/* The second one has another stack. */
	CHECK_EQ(times(rest, "== mrn check: use: "), 1);
	CHECK_MSG(strstr(rest, "2 different findings"), "%s", rest);
}

TEST(suppressed_findings_do_not_count)
{
	if (!getenv("MRN_WATCH_SYMBOLS"))
		SKIP("without libdw there are no names");
	RUN(&o, "check", "--suppressions", file_of("a", "# a comment\n\nuse:ma[p]\n"), "--",
	    rings(), "1", "1", "1", "exit");
	CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
	CHECK_MSG(strstr(o.err, "0 different findings, 1 suppressed"), "%s", o.err);
	RUN(&o, "check", "--suppressions", file_of("a", "flight:*\nuse:mapped\n*:ma\n"), "--",
	    rings(), "1", "1", "1", "exit");
	CHECK_EQ(o.status, 66);
	RUN(&o, "check", "--suppressions", file_of("a", "use:x\nnonsense\n"), "--", rings());
	CHECK_EQ(o.status, 125);
	CHECK_MSG(lines(o.err) == 1 && strstr(o.err, "a:2: "), "%s", o.err);
	RUN(&o, "check", "--suppressions", "/no/such/file", "--", rings());
	CHECK_EQ(o.status, 125);
}

TEST(at_most_so_many_are_printed)
{
	RUN(&o, "check", "--max", "0", "--", rings(), "1", "2", "1", "exit");
	CHECK_EQ(o.status, 66);
	CHECK_MSG(strstr(o.err, "1 more report"), "%s", o.err);
	CHECK_EQ(times(o.err, "used here"), 0);
	CHECK_EQ(times(o.err, "2 times"), 0);
}

TEST(what_cannot_be_written_fails)
{
	RUN(&o, "check", "--json", "/no/such/folder/file", "--", rings(), "1", "1", "1", "exit");
	CHECK_EQ(o.status, 125);
	CHECK_EQ(lines(o.err), 1);
	RUN(&o, "check", "--json", "/dev/full", "--", rings(), "1", "1", "1", "exit");
	CHECK_MSG(o.status == 125, "%d: %s", o.status, o.err);
}

TEST(a_killed_program_has_found_what_it_has)
{
	const char *path = path_of("found"), *tool = getenv("MRN_TOOL");
	unsigned int findings;
	char command[1024];
	int status;

	if (!tool)
		SKIP("MRN_TOOL does not say where the mrn command is");
	snprintf(command, sizeof(command), "'%s' check --json '%s' -- '%s' 1 3 1 kill 2>/dev/null",
		 tool, path, rings());
	status = system(command);
	/* As of the shell, since the tool has died of the same signal. */
	CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGKILL, "%#x", status);
	CHECK_EQ(sum_of(path, &findings), 3);
	CHECK_EQ(findings, 1);
}

static bool has_children(pid_t pid)
{
	char path[64], text[16];
	FILE *f;
	bool has;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	f = fopen(path, "re");
	if (!f)
		SKIP("this kernel has no %s (CONFIG_PROC_CHILDREN)", path);
	has = fgets(text, sizeof(text), f);
	fclose(f);
	return has;
}

/* Once the program has ended, the tool has its last reports to write, and nobody reads them. */
TEST(a_signal_ends_what_waits_for_a_reader)
{
	int in[2], err[2], flags, status;
	char page[4096] = {0};
	pid_t pid;

	CHECK(!pipe(in) && !pipe(err));
	flags = fcntl(err[1], F_GETFL);
	CHECK(!fcntl(err[1], F_SETFL, flags | O_NONBLOCK));
	while (write(err[1], page, sizeof(page)) > 0)
		;
	CHECK(!fcntl(err[1], F_SETFL, flags));
	pid = start_waiting(in, err);
	while (!has_children(pid))
		test_sleep_ms(1);
	CHECK(!close(in[1]) && !close(in[0]));
	while (has_children(pid))
		test_sleep_ms(1);
	/* What comes in the next moments is the program's yet. */
	while (!waitpid(pid, &status, WNOHANG)) {
		CHECK(!kill(pid, SIGTERM));
		test_sleep_ms(20);
	}
	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "%#x", status);
}

/* As timeout does it: one signal for the tool, which passes it on, and another for its group. */
TEST(what_ends_the_program_ends_no_report)
{
	static char live[8192], rest[8192];
	int in[2], err[2], status;
	pid_t pid;

	CHECK(!pipe(in) && !pipe(err));
	pid = start_waiting(in, err);
	close(err[1]);
	read_until(err[0], live, sizeof(live), "registered here");
	CHECK(!kill(pid, SIGTERM));
	while (has_children(pid))
		test_sleep_ms(1);
	CHECK(!kill(pid, SIGTERM));
	read_until(err[0], rest, sizeof(rest), "no such text");
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "%#x", status);
	CHECK_MSG(strstr(rest, "1 different finding"), "%s", rest);
}

TEST(what_outlives_the_program_is_said)
{
	RUN(&o, "check", "--children", "--", rings(), "1", "1", "0", "outlived");
	CHECK_MSG(strstr(o.err, "1 process still ran when the program had ended"), "%s", o.err);
	RUN(&o, "check", "--children", "--", rings(), "1", "1", "0", "child");
	CHECK_MSG(!strstr(o.err, "still ran"), "%s", o.err);
}

TEST(a_child_is_checked_if_asked)
{
	RUN(&o, "check", "--", rings(), "1", "1", "1", "child");
	CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
	RUN(&o, "check", "--children", "--", rings(), "1", "1", "1", "child");
	CHECK_MSG(o.status == 66, "%d: %s", o.status, o.err);
}

/* No report is lost or made up, whatever the threads do at once. */
TEST(threads_lose_no_report, .timeout_s = 300)
{
	const char *path = path_of("found");
	unsigned int findings;

	RUN(&o, "check", "--json", path, "--", rings(), "8", "5000", "100", "exit");
	CHECK_MSG(o.status == 66, "%d: %s", o.status, o.err);
	CHECK_EQ(sum_of(path, &findings), 8 * 50);
	/* The first thread's stack is another. */
	CHECK_EQ(findings, 2);
	CHECK_MSG(strstr(o.err, " 40000 registrations, "), "%s", o.err);
}

TEST(a_sandbox_kills_nobody_for_it)
{
	RUN(&o, "check", "--", rings(), "1", "10", "1", "confined");
	CHECK_MSG(o.status == 66, "%d: %s", o.status, o.err);
	CHECK_EQ(times(o.err, "== mrn check: use: "), 1);
	/* Without that call nothing can be caught; what is not seen is said. */
	RUN(&o, "check", "--", rings(), "1", "10", "1", "mute");
	CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
	CHECK_MSG(strstr(o.err, "not all changes were seen"), "%s", o.err);
}

TEST(nobody_needs_privileges)
{
	if (geteuid())
		SKIP("all other tests run without privileges, too");
	/* The tool itself is nobody's, and so the log is. */
	CHECK(!setregid(65534, 65534) && !setreuid(65534, 65534));
	if (access(rings(), X_OK) || access(getenv("MRN_TOOL"), X_OK))
		SKIP("nobody cannot read the program");
	RUN(&o, "check", "--", rings(), "1", "10", "1", "exit");
	CHECK_MSG(o.status == 66, "%d: %s", o.status, o.err);
	CHECK_EQ(times(o.err, "== mrn check: use: "), 1);
}

TEST(what_has_landed_is_not_given_up)
{
	static const struct {
		const char *program, *form;
		bool lands;
	} row[] = {
		{"MRN_CHECK_URING", "bare landed-in-few", true},
		{"MRN_CHECK_URING", "liburing landed-in-few", true},
		{"MRN_CHECK_URING", "bare silent", false},
		{"MRN_CHECK_PROVIDED", "bare own-memory", true},
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		RUN(&o, "check", "--", program(row[i].program), row[i].form);
		if (o.status == 77)
			SKIP("%s", o.err);
		CHECK_MSG(!strstr(o.err, "could not be followed to their end") == row[i].lands,
			  "%s: %s", row[i].form, o.err);
	}
}

TEST(without_dispatch_it_says_what_is_missing)
{
	RUN(&o, "check", "--source", "interpose", "--", rings(), "1", "1", "0", "exit");
	CHECK_EQ(o.status, 0);
	CHECK_MSG(strstr(o.err, "mrn check: without dispatch"), "%s", o.err);
	CHECK_MSG(strstr(o.err, "seen by interpose"), "%s", o.err);
}
