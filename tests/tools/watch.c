/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn watch: counts that are exact, what the program does not notice, and how it ends. The program is
 * tests/tools/watched.c; MRN_WATCHED says where it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tools/fixture.h"

#define PAGE 4096

/* What a twin makes the program do less of. */
static int less;

/* ---------------------------------------------------------------------------------- what was seen */

static struct json_object *report_of(const struct outcome *o)
{
	struct json_object *report = json_tokener_parse(o->out);

	CHECK_MSG(report, "%d: %s%s", o->status, o->out, o->err);
	return report;
}

/* How many events of a cause, and that they have so many bytes. */
static void check_cause(struct json_object *report, const char *cause, int64_t events,
			int64_t bytes)
{
	struct json_object *causes = member(report, "causes", json_type_array);

	for (size_t i = 0; i < json_object_array_length(causes); i++) {
		struct json_object *c = json_object_array_get_idx(causes, i);

		if (strcmp(json_object_get_string(member(c, "cause", json_type_string)), cause))
			continue;
		CHECK_EQ(figure(c, "events"), events);
		CHECK_EQ(figure(c, "bytes"), bytes);
		CHECK(figure(c, "p50_ns") > 0);
		CHECK(figure(c, "p99_ns") >= figure(c, "p50_ns"));
		return;
	}
	CHECK_MSG(!events, "no %s in %s", cause, json_object_to_json_string(report));
}

/* All calls of a cause come from here. */
static void check_site(struct json_object *report, const char *cause, const char *begins,
		       int64_t events)
{
	struct json_object *sites = member(report, "sites", json_type_array);

	for (size_t i = 0; i < json_object_array_length(sites); i++) {
		struct json_object *s = json_object_array_get_idx(sites, i);
		const char *label = json_object_get_string(member(s, "site", json_type_string));

		if (strcmp(json_object_get_string(member(s, "cause", json_type_string)), cause))
			continue;
		CHECK_MSG(!strncmp(label, begins, strlen(begins)), "%s", label);
		CHECK_EQ(figure(s, "events"), events);
		return;
	}
	FAIL("no %s in %s", cause, json_object_to_json_string(report));
}

static bool has_symbols(void)
{
	return getenv("MRN_WATCH_SYMBOLS") != NULL;
}

TEST(counts_are_exact)
{
	static struct outcome o;
	struct json_object *report;

	RUN(&o, "watch", "--json", "--", watched(), "count", number(300 - less), "70");
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
	report = report_of(&o);
	check_cause(report, "munmap", 300, 300l * 3 * PAGE);
	check_cause(report, "dontneed", 70, 70l * 2 * PAGE);
	CHECK_EQ(figure(report, "events"), 370);
	CHECK_EQ(figure(report, "dropped"), 0);
	CHECK_EQ(figure(report, "lost"), 0);
	CHECK_EQ(figure(report, "processes"), 1);
	if (has_symbols()) {
		check_site(report, "munmap", "watched_unmap in ", 300);
		check_site(report, "dontneed", "watched_discard in ", 70);
	}
	json_object_put(report);
}
TWIN(counts_are_exact, one_less, less = 1);

TEST(tables_for_people)
{
	static struct outcome o;

	RUN(&o, "watch", watched(), "count", "1234", "7");
	CHECK_EQ(o.status, 0);
	CHECK(!*o.out);
	CHECK_MSG(strstr(o.err, "1241 invalidations"), "%s", o.err);
	CHECK_MSG(strstr(o.err, "cause                events"), "%s", o.err);
	CHECK_MSG(strstr(o.err, "call site"), "%s", o.err);
	CHECK_MSG(strstr(o.err, "munmap                 1234     14.5 MiB"), "%s", o.err);
	CHECK(!strchr(o.err, '\r'));
}

/* In a table that fits 80 columns, with the module; whole in JSON. */
TEST(a_long_name_is_cut_in_the_table)
{
	static struct outcome o;

	if (!has_symbols())
		SKIP("no names for functions");
	RUN(&o, "watch", "--source", "interpose", "--json", "--", watched(), "long", "50");
	CHECK_EQ(o.status, 0);
	CHECK_MSG(strstr(o.err,
			 "\nmunmap                   50    600.0 KiB   watched_by_a_name_tha"),
		  "%s", o.err);
	CHECK_MSG(strstr(o.err, "... in watched"), "%s", o.err);
	CHECK_MSG(longest_line(strstr(o.err, "\ncause ")) <= 80, "%s", o.err);
	CHECK_MSG(strstr(o.out, "without_an_end_or_even_a_pause_to_breathe_in in watched"), "%s",
		  o.out);
}

TEST(threads_are_counted)
{
	static struct outcome o;
	struct json_object *report;

	/* dispatch would count the stacks, which libc gives back. */
	RUN(&o, "watch", "--source", "interpose", "--json", "--", watched(), "threads", "8",
	    number(2000 - less));
	CHECK_EQ(o.status, 0);
	report = report_of(&o);
	check_cause(report, "munmap", 16000, 16000l * 3 * PAGE);
	json_object_put(report);
}
TWIN(threads_are_counted, one_less, less = 1);

TEST(dispatch_sees_more)
{
	static struct outcome o;
	struct json_object *report, *causes;
	int64_t seen = 0;

	RUN(&o, "watch", "--source", "dispatch", "--json", "--", watched(), "threads", "8", "2000");
	if (o.status == 125)
		SKIP("%s", o.err);
	CHECK_EQ(o.status, 0);
	report = report_of(&o);
	causes = member(report, "causes", json_type_array);
	for (size_t i = 0; i < json_object_array_length(causes); i++) {
		struct json_object *c = json_object_array_get_idx(causes, i);

		if (!strcmp(json_object_get_string(member(c, "cause", json_type_string)), "munmap"))
			seen = figure(c, "events");
	}
	NOTE("%lld", (long long)seen);
	CHECK(seen > 16000);
	json_object_put(report);
}

/* libc calls free for the program: the call site is the program's, and libc's function is named, too. */
TEST(calls_inside_libc_have_the_programs_site)
{
	static struct outcome o;
	struct json_object *report;

	RUN(&o, "watch", "--json", "--", watched(), "library");
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
	report = report_of(&o);
	CHECK_MSG(strstr(o.out, ", via "), "%s", o.out);
	CHECK_MSG(!strstr(o.out, "unknown"), "%s", o.out);
	if (has_symbols())
		CHECK_MSG(strstr(o.out, "watched_library in watched, via "), "%s", o.out);
	json_object_put(report);
}

/* One library lies where another was a moment ago. */
TEST(libraries_by_turns)
{
	const char *a = getenv("MRN_TURNS_A"), *b = getenv("MRN_TURNS_B");
	static struct outcome o;
	struct json_object *report;
	bool found[2] = {false, false};

	if (!a || !b || !has_symbols())
		SKIP("no libraries, or no names for functions");
	RUN(&o, "watch", "--source", "interpose", "--json", "--", watched(), "turns", "100", a, b);
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
	report = report_of(&o);
	check_cause(report, "munmap", 100, 100l * PAGE);
	for (int i = 0; i < 2; i++) {
		struct json_object *sites = member(report, "sites", json_type_array);
		struct json_object *s = json_object_array_get_idx(sites, (size_t)i);
		const char *label = json_object_get_string(member(s, "site", json_type_string));

		CHECK_EQ(figure(s, "events"), 50);
		found[0] |= !strncmp(label, "turns_a in ", 11);
		found[1] |= !strncmp(label, "turns_b in ", 11);
	}
	CHECK_MSG(found[0] && found[1], "%s", o.out);
	json_object_put(report);
}

/* ---------------------------------------------------------------------------------- processes */

static struct json_object *run_processes(const char *children, const char *way, int n, int m)
{
	static struct outcome o;

	if (children)
		RUN(&o, "watch", "--json", children, "--", watched(), way, number(n), number(m));
	else
		RUN(&o, "watch", "--json", "--", watched(), way, number(n), number(m));
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
	return report_of(&o);
}

TEST(a_forked_child_is_not_recorded)
{
	struct json_object *report = run_processes(NULL, "fork", 50, 5);

	check_cause(report, "munmap", 0, 0);
	check_cause(report, "dontneed", 5, 5l * 2 * PAGE);
	CHECK_EQ(figure(report, "processes"), 1);
}

TEST(a_forked_child_is_followed)
{
	struct json_object *report = run_processes("--children", "fork", 50 - less, 5);

	check_cause(report, "munmap", 50, 50l * 3 * PAGE);
	check_cause(report, "dontneed", 5, 5l * 2 * PAGE);
	CHECK_EQ(figure(report, "processes"), 2);
}
TWIN(a_forked_child_is_followed, one_less, less = 1);

TEST(an_executed_child_is_not_recorded)
{
	struct json_object *report = run_processes(NULL, "spawn", 50, 5);

	check_cause(report, "munmap", 0, 0);
	check_cause(report, "dontneed", 5, 5l * 2 * PAGE);
}

TEST(an_executed_child_is_followed)
{
	struct json_object *report = run_processes("--children", "spawn", 50, 5);

	check_cause(report, "munmap", 50, 50l * 3 * PAGE);
	check_cause(report, "dontneed", 5, 5l * 2 * PAGE);
	CHECK_EQ(figure(report, "processes"), 2);
}

/* Replaced, it is still the one that was asked for. */
TEST(exec_in_the_same_process_is_followed)
{
	static const char *const ways[] = {"execfd", "execl",  "execle", "execlp",
					   "execv",  "execve", "execvp", "execvpe"};

	for (unsigned int i = 0; i < 16; i++) {
		struct json_object *report =
			run_processes(i & 1 ? "--children" : NULL, ways[i / 2], 50, 5);

		NOTE("%s", ways[i / 2]);
		check_cause(report, "munmap", 50, 50l * 3 * PAGE);
		check_cause(report, "dontneed", 5, 5l * 2 * PAGE);
		CHECK_EQ(figure(report, "processes"), 1);
	}
}

static const char *way_out = "forbid";

TEST(a_process_that_cannot_be_watched_is_told_of)
{
	static struct outcome o;
	const char *says;

	RUN(&o, "watch", "--source", "dispatch", watched(), way_out, "50", "5");
	if (o.status == 125)
		SKIP("%s", o.err);
	CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
	says = strstr(o.err, "\n1 process could not be followed: ");
	CHECK_MSG(says && strstr(says, "not permitted"), "%s", o.err);
	CHECK_MSG(strstr(o.err, ": 7 invalidations"), "%s", o.err);
}
TWIN(a_process_that_cannot_be_watched_is_told_of, can_be, way_out = "execv");

static const char *way_to_lose = "lost";

TEST(a_source_that_is_lost_is_told_of)
{
	static struct outcome o;

	RUN(&o, "watch", "--source", "dispatch", watched(), way_to_lose, "50", "5");
	if (o.status == 125)
		SKIP("%s", o.err);
	CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
	CHECK_MSG(strstr(o.err, "\n1 time (detach) a process did "), "%s", o.err);
	CHECK_MSG(strstr(o.err, "\nmunmap                   50 "), "%s", o.err);
}
TWIN(a_source_that_is_lost_is_told_of, is_not, way_to_lose = "count");

/* --------------------------------------------------------------------------------- tracers, emulators */

/* Its tracer would see each call as a signal. */
TEST(a_traced_program_is_not_caught)
{
	static struct outcome o;
	struct json_object *report;

	RUN(&o, "watch", "--children", "--source", "dispatch", watched(), "traced", "50", "5");
	if (o.status == 125)
		SKIP("%s", o.err);
	CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
	CHECK_MSG(strstr(o.err, "1 process could not be followed: thread "), "%s", o.err);
	CHECK_MSG(strstr(o.err, " is traced by process "), "%s", o.err);
	/* But by the next best. */
	RUN(&o, "watch", "--children", "--json", "--", watched(), "traced", number(50 - less), "5");
	CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
	CHECK_MSG(strstr(o.err, "seen by dispatch and interpose"), "%s", o.err);
	report = report_of(&o);
	check_cause(report, "munmap", 50, 50l * 3 * PAGE);
	CHECK_EQ(figure(report, "processes"), 2);
	json_object_put(report);
}
TWIN(a_traced_program_is_not_caught, one_less, less = 1);

static bool is_here(const char *program)
{
	char command[64];

	snprintf(command, sizeof(command), "command -v %s >/dev/null", program);
	return system(command) == 0;
}

TEST(a_debugger)
{
	static struct outcome o;

	if (!is_here("gdb"))
		SKIP("gdb is not installed");
	RUN(&o, "watch", "--children", "--source", "dispatch", "--", "gdb", "-nx", "-batch", "-ex",
	    "run", "--args", "/bin/echo", "hello");
	CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
	CHECK_MSG(!strstr(o.out, "SIGSYS"), "%s", o.out);
	CHECK_MSG(!strncmp(o.out, "hello\n", 6) || strstr(o.out, "\nhello\n"), "%s", o.out);
}

/* valgrind makes the program's calls itself: there it dies of what is sent to the program's handler. */
TEST(an_emulator)
{
	static struct outcome o;
	struct json_object *report;

	if (!is_here("valgrind"))
		SKIP("valgrind is not installed");
	RUN(&o, "watch", "--json", "--", "valgrind", "-q", watched(), "count", number(50 - less),
	    "5");
	CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
	report = report_of(&o);
	check_cause(report, "munmap", 50, 50l * 3 * PAGE);
	check_cause(report, "dontneed", 5, 5l * 2 * PAGE);
	json_object_put(report);
	RUN(&o, "watch", "--source", "dispatch", "--", "valgrind", "-q", watched(), "status", "3");
	CHECK_MSG(o.status == 3, "%d: %s", o.status, o.err);
	CHECK_MSG(strstr(o.err, "could not be followed: dispatch does not work here"), "%s", o.err);
}
TWIN(an_emulator, one_less, less = 1);

/* The program by itself: its status as wait has it. */
static int unwatched(const char *way, const char *n, const char *m)
{
	const char *program = watched();
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		execl(program, program, way, n, m, (char *)NULL);
		_exit(126);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return status;
}

/*
 * A program that forbids itself all calls but those that it makes, on pain of death, lives as it does unwatched. The ring is
 * small, so that there is much to tell the tool; and one call comes from code that nobody has seen.
 */
static void check_sandbox(const char *kind, const char *is_caught, const char *way)
{
	static struct outcome o;
	struct json_object *report;
	int bare = unwatched(way, "50", is_caught);

	if (WIFEXITED(bare) && WEXITSTATUS(bare) == 88)
		SKIP("no seccomp filters");
	CHECK_MSG(bare == 0, "unwatched: status %x", bare);
	RUN(&o, "watch", "--json", "--records", "64", "--source", kind, "--", watched(), way, "50",
	    is_caught);
	if (o.status == 125)
		SKIP("%s", o.err);
	CHECK_MSG(o.status == 0, "%s: %d: %s", kind, o.status, o.err);
	report = report_of(&o);
	CHECK(figure(report, "events") + figure(report, "dropped") >= 150);
	json_object_put(report);
}

TEST(a_program_in_a_sandbox)
{
	check_sandbox("interpose", "0", "sandbox");
	check_sandbox("dispatch", "1", "sandbox");
}

TEST(threads_in_a_sandbox)
{
	check_sandbox("interpose", "0", "sandbox+threads");
	check_sandbox("dispatch", "1", "sandbox+threads");
}

/* Nothing of the log depends on a descriptor that the program has. */
TEST(a_program_that_closes_all_descriptors)
{
	struct json_object *report = run_processes(NULL, "closed", 50, 20);

	check_cause(report, "munmap", 50, 50l * 3 * PAGE);
	report = run_processes("--children", "closed", 50, 20);
	check_cause(report, "munmap", 70, 70l * 3 * PAGE);
}

/* ------------------------------------------------------------------------ what it does not notice */

TEST(the_environment_is_the_programs)
{
	static struct outcome o;

	CHECK_EQ(unsetenv("LD_PRELOAD"), 0);
	RUN(&o, "watch", "--", watched(), "environment");
	CHECK_MSG(!strcmp(o.out, "none none\n"), "%s", o.out);
	/* An empty one is not none. */
	CHECK_EQ(setenv("LD_PRELOAD", "", 1), 0);
	RUN(&o, "watch", "--", watched(), "environment");
	CHECK_MSG(!strcmp(o.out, " none\n"), "%s", o.out);
	CHECK_EQ(unsetenv("LD_PRELOAD"), 0);
	RUN(&o, "watch", "--children", "--", watched(), "environment");
	CHECK_MSG(strstr(o.out, "libmrn-watch.so"), "%s", o.out);
}

TEST(standard_input_and_output_are_the_programs)
{
	static struct outcome o;
	int in[2];

	CHECK_EQ(pipe(in), 0);
	CHECK_EQ(write(in[1], "one\ntwo", 7), 7);
	close(in[1]);
	CHECK_EQ(dup2(in[0], STDIN_FILENO), STDIN_FILENO);
	RUN(&o, "watch", "--", watched(), "copy");
	CHECK_EQ(o.status, 0);
	CHECK_MSG(!strcmp(o.out, "one\ntwo"), "%s", o.out);
	CHECK_MSG(!strncmp(o.err, "error\n", 6), "%s", o.err);
}

/* -------------------------------------------------------------------------------------- losses */

/* Nobody reads meanwhile, so what does not fit is dropped, all of it counted. */
TEST(drops_are_counted)
{
	static struct outcome o;
	struct json_object *report;
	int64_t seen, dropped;

	RUN(&o, "watch", "--json", "--records", "16", "--", watched(), "unread",
	    number(1000 - less));
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
	report = report_of(&o);
	seen = figure(report, "events");
	dropped = figure(report, "dropped");
	NOTE("seen %d dropped %d", (int)seen, (int)dropped);
	CHECK(seen >= 1 && seen <= 16);
	CHECK_EQ(seen + dropped, 1000);
	json_object_put(report);
	RUN(&o, "watch", "--records", "16", "--", watched(), "unread", "1000");
	CHECK_MSG(strstr(o.err, "were dropped"), "%s", o.err);
}
TWIN(drops_are_counted, one_less, less = 1);

/* ------------------------------------------------------------------------------------ how it ends */

/* Like run_tool, but for a tool that is to be sent signals, or to die of one. */
struct running {
	pid_t pid;
	FILE *out;
};

static struct running start(const char *const *args)
{
	const char *argv[16] = {getenv("MRN_TOOL")};
	struct running r;
	int out[2];

	if (!argv[0])
		SKIP("MRN_TOOL does not say where the mrn command is");
	for (int i = 0; args[i]; i++)
		argv[i + 1] = args[i];
	CHECK_EQ(pipe(out), 0);
	r.pid = fork();
	CHECK(r.pid >= 0);
	if (!r.pid) {
		dup2(out[1], STDOUT_FILENO);
		close(out[0]);
		close(out[1]);
		execv(argv[0], (char **)(uintptr_t)argv);
		_exit(126);
	}
	close(out[1]);
	r.out = fdopen(out[0], "r");
	CHECK(r.out);
	return r;
}
#define START(...) start((const char *const[]){__VA_ARGS__, NULL})

static const char *next_line(struct running *r)
{
	static char line[256];

	if (!fgets(line, sizeof(line), r->out))
		return "";
	line[strcspn(line, "\n")] = '\0';
	return line;
}

static int finish(struct running *r)
{
	int status;

	CHECK_EQ(waitpid(r->pid, &status, 0), r->pid);
	fclose(r->out);
	return status;
}

TEST(the_exit_status_is_the_programs)
{
	static struct outcome o;

	for (int status = 0; status < 256; status += 51) {
		RUN(&o, "watch", "--", watched(), "status", number(status));
		CHECK_EQ(o.status, status);
	}
	/* One that the fixture takes for a skip. */
	struct running r = START("watch", "--", watched(), "status", "77");

	CHECK_EQ(WEXITSTATUS(finish(&r)), 77);
}

TEST(the_vdso_is_the_programs_to_move)
{
	static const char *const names[] = {"interpose", "dispatch"};
	static struct outcome o;

	for (int i = 0; i < 2; i++) {
		RUN(&o, "watch", "--json", "--source", names[i], "--", watched(), "vdso", "50");
		if (o.status == 77 || o.status == 125)
			SKIP("it cannot be moved here, or: %s", o.err);
		CHECK_MSG(o.status == 0, "%s: %d: %s", names[i], o.status, o.err);
		check_cause(report_of(&o), "munmap", 50, 50l * 3 * PAGE);
	}
}

/* 0 when it begins, and in a child what it was. */
TEST(errno_is_the_programs)
{
	static const char *const names[] = {"interpose", "dispatch"};
	static struct outcome o;

	for (int i = 0; i < 4; i++) {
		RUN(&o, "watch", i % 2 ? "--children" : "--json", "--source", names[i / 2], "--",
		    watched(), "errno");
		if (o.status == 125)
			SKIP("%s", o.err);
		CHECK_MSG(o.status == 0, "%s: %s", names[i / 2], strerror(o.status));
	}
}

TEST(the_signal_that_kills_is_the_programs)
{
	static const int signals[] = {SIGKILL, SIGTERM, SIGINT, SIGSEGV, SIGHUP, SIGABRT};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct running r = START("watch", "--", watched(), "signal", number(signals[i]));
		int status = finish(&r);

		CHECK(WIFSIGNALED(status));
		CHECK_EQ(WTERMSIG(status), signals[i]);
		CHECK(!WCOREDUMP(status));
	}
}

TEST(signals_are_passed_on)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGTSTP, SIGALRM};
	struct running r = START("watch", "--", watched(), "signals");

	CHECK(!strcmp(next_line(&r), "ready"));
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		CHECK_EQ(kill(r.pid, signals[i]), 0);
		CHECK_EQ(atoi(next_line(&r)), signals[i]);
	}
	CHECK_EQ(kill(r.pid, SIGUSR2), 0);
	CHECK(!*next_line(&r));
	CHECK_EQ(finish(&r), 0);
}

/* A shell that runs the tool as a job sees it stopped when the program is, and can continue both. */
TEST(a_stopped_program_stops_the_tool)
{
	struct running r = START("watch", "--", watched(), "stop");
	int status;

	CHECK_EQ(waitpid(r.pid, &status, WUNTRACED), r.pid);
	CHECK(WIFSTOPPED(status));
	CHECK_EQ(kill(r.pid, SIGCONT), 0);
	CHECK_EQ(finish(&r), 0);
}

TEST(what_is_ignored_stays_ignored)
{
	static struct outcome o;

	CHECK(signal(SIGHUP, SIG_IGN) != SIG_ERR);
	RUN(&o, "watch", "--", watched(), "signal", number(SIGHUP));
	CHECK_EQ(o.status, 0);
}

/* ------------------------------------------------------------------------------------- refusals */

/* One line, with this in it. */
static void refused(const char *program, int status, const char *says)
{
	static struct outcome o;

	RUN(&o, "watch", "--", program);
	CHECK_MSG(o.status == status, "%d: %s", o.status, o.err);
	CHECK_MSG(lines(o.err) == 1 && strstr(o.err, says), "%s", o.err);
	CHECK(!*o.out);
}

/* A file of this content that may be executed. */
static const char *program_of(const void *content, size_t size, mode_t mode)
{
	static char name[64];
	int fd = open(test_path(name, sizeof(name), "program"),
		      O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, content, size), size);
	CHECK_EQ(fchmod(fd, mode), 0);
	close(fd);
	return name;
}

TEST(programs_that_cannot_be_run)
{
	const char *name;

	refused("/nonexistent/program", 127, "No such file");
	refused("nonexistent-program", 127, "there is no program");
	refused("/", 126, "not a program");
	name = program_of("", 0, 0600);
	refused(name, 126, "denied");
}

TEST(a_name_with_odd_characters)
{
	static struct outcome o;
	char name[64];

	CHECK_EQ(symlink("/bin/true", test_path(name, sizeof(name), "odd\x1b[1m\n")), 0);
	RUN(&o, "watch", "--", name);
	CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
	CHECK_MSG(lines(o.err) == 1 && strstr(o.err, "odd?[1m?: ") && !strchr(o.err, 0x1b), "%s",
		  o.err);
}

/* An ELF header without an interpreter is all that is looked at. */
TEST(static_programs_are_refused)
{
	unsigned char elf[64] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
	const char *name;

#ifdef __x86_64__
	elf[18] = 62;
#else
	elf[18] = 183;
#endif
	name = program_of(elf, sizeof(elf), 0700);
	refused(name, 125, "statically");
	elf[4] = 1;
	name = program_of(elf, sizeof(elf), 0700);
	refused(name, 125, "another kind of machine");
}

/* A script is as good as its interpreter. */
TEST(scripts_are_their_interpreters)
{
	static const char script[] = "#!/bin/sh -e\nexit 7\n";
	static struct outcome o;
	const char *name = program_of(script, sizeof(script) - 1, 0700);

	RUN(&o, "watch", "--", name);
	CHECK_MSG(o.status == 7, "%d: %s", o.status, o.err);
	CHECK(strstr(o.err, "1 process"));
}

TEST(setuid_programs_are_refused)
{
	const char *name = program_of("\177ELF\2\1\1", 7, 0700);

	if (geteuid() || chown(name, 65534, 65534) || chmod(name, 06755))
		SKIP("only root can make a program of another user's");
	refused(name, 125, "setuid");
}

TEST(wrong_options)
{
	REFUSED("watch");
	REFUSED("watch", "--");
	REFUSED("watch", "--nonsense");
	REFUSED("watch", "--source", "uffd", "true");
	REFUSED("watch", "--source", "nonsense", "true");
	REFUSED("watch", "--records", "15", "true");
	REFUSED("watch", "--records", "17", "true");
	REFUSED("watch", "-o");
}
