/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn watch and the programs that are executed under it: those that are watched on, whichever way they were executed, and
 * those that cannot be, which run as they do without, and are told of. By tests/tools/watched_exec.c, of tests/tools/watched_small.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/tools/fixture.h"

#define EVENTS "50"

static const char *needs(const char *name)
{
	const char *path = getenv(name);

	if (!path || !*path)
		SKIP("%s is not to be had here", name);
	return path;
}

static bool is_json(const char *const *args)
{
	for (; *args; args++)
		if (!strcmp(*args, "--json"))
			return true;
	return false;
}

/* It runs as it would without us: nothing is said but by the program and by the tables. */
static struct json_object *run(struct outcome *o, const char *const *args)
{
	struct json_object *report;

	run_tool(o, args);
	if (o->status == 125)
		SKIP("%s", o->err);
	CHECK_MSG(o->status == 0, "%d: %s%s", o->status, o->out, o->err);
	CHECK_MSG(!strstr(o->err, "rror"), "%s", o->err);
	CHECK_MSG(!strncmp(o->err, "small\n", 6), "%s", o->err);
	CHECK(is_json(args));
	report = json_tokener_parse(o->out);
	CHECK_MSG(report, "%s", o->out);
	return report;
}
#define REPORT(o, ...) run(o, (const char *const[]){"watch", "--json", __VA_ARGS__, NULL})

static int64_t events(struct json_object *report, const char *cause)
{
	struct json_object *causes = member(report, "causes", json_type_array);

	for (size_t i = 0; i < json_object_array_length(causes); i++) {
		struct json_object *c = json_object_array_get_idx(causes, i);

		if (!strcmp(json_object_get_string(member(c, "cause", json_type_string)), cause))
			return figure(c, "events");
	}
	return 0;
}

static int64_t unmapped(struct json_object *report)
{
	return events(report, "munmap");
}

/* One process is not watched, for this reason, which the tables say, too. */
static void check_unwatched(const struct outcome *o, struct json_object *report, const char *says)
{
	struct json_object *reasons = member(report, "unwatched", json_type_array), *r;
	const char *why;

	CHECK_EQ(figure(report, "unwatched_processes"), 1);
	CHECK_EQ(json_object_array_length(reasons), 1);
	r = json_object_array_get_idx(reasons, 0);
	why = json_object_get_string(member(r, "why", json_type_string));
	CHECK_EQ(figure(r, "processes"), 1);
	CHECK_MSG(strstr(why, says), "%s", why);
	CHECK_MSG(strstr(o->err, "\n1 process could not be followed: "), "%s", o->err);
	CHECK(unmapped(report) < 50);
}

/* --------------------------------------------------------------------------------------- every way to execute */

/* It is the same process, whose exec is an event, and which is watched on. */
static void check_followed(const char *source, const char *way)
{
	const char *by = needs("MRN_WATCHED_EXEC"), *small = needs("MRN_SMALL");
	static struct outcome o;

	for (int children = 0; children < 2; children++) {
		struct json_object *report = children ? REPORT(&o, "--source", source, "--children",
							       "--", by, "self", way, small, EVENTS)
						      : REPORT(&o, "--source", source, "--", by,
							       "self", way, small, EVENTS);

		NOTE("%s, %s", source, way);
		CHECK_EQ(unmapped(report), 50);
		CHECK_EQ(events(report, "exec"), 1);
		CHECK_EQ(figure(report, "processes"), 1);
		CHECK_EQ(figure(report, "unwatched_processes"), 0);
		json_object_put(report);
	}
}

TEST(exec_is_followed_by_interpose)
{
	static const char *const ways[] = {"execve",   "execvpe",     "fexecve",
					   "execveat", "execveat-fd", "syscall"};

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		check_followed("interpose", ways[i]);
#ifdef __x86_64__
	check_followed("interpose", "syscall-at");
#endif
}

TEST(exec_is_followed_by_dispatch)
{
	static const char *const ways[] = {"execve",	 "execvpe",	"fexecve",
					   "execveat",	 "execveat-fd", "syscall",
					   "syscall-at", "raw",		"raw-at"};

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		check_followed("dispatch", ways[i]);
}

/* The kernel's to say. */
TEST(an_environment_that_cannot_be_read)
{
	static const char *const sources[] = {"dispatch", "interpose"};
	static struct outcome o;

	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		RUN(&o, "watch", "--source", sources[i], "--", needs("MRN_WATCHED_EXEC"), "self",
		    "no-environment", needs("MRN_SMALL"));
		if (o.status == 125)
			SKIP("%s", o.err);
		CHECK_MSG(o.status == 14, "%d: %s%s", o.status, o.out, o.err);
	}
}

/* Nothing is wrong with it, but the recorder does not get there: the loader only lists what it would load. */
TEST(a_program_that_never_comes_to_the_recorder)
{
	static const char loader[] = "/lib64/ld-linux-x86-64.so.2";
	static struct outcome o;

	if (access(loader, X_OK))
		SKIP("another loader");
	RUN(&o, "watch", "--", needs("MRN_WATCHED_EXEC"), "self", "execve", loader, "--list",
	    needs("MRN_SMALL"));
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
	CHECK_MSG(strstr(o.err, "\n1 process could not be followed: the recorder was not loaded "
				"into the program that it executed, or could not open the log "
				"there\n"),
		  "%s", o.err);
	CHECK_MSG(strstr(o.err, "\nexec                      1 "), "%s", o.err);
}

/* ---------------------------------------------------------------------------- programs that cannot be watched */

static const struct kind {
	const char *program; /* in the environment */
	const char *says;
} kinds[] = {
	{"MRN_SMALL_MUSL", "which is not glibc's, so the recorder cannot be loaded into it"},
	{"MRN_SMALL_STATIC", " is linked statically, so nothing can be preloaded into it"},
	{"MRN_SMALL_32", " is a program for another kind of machine than this library"},
};

static void check_refused(const struct kind *kind)
{
	static struct outcome o;

	RUN(&o, "watch", "--", needs(kind->program), EVENTS);
	CHECK_MSG(o.status == 125, "%d: %s%s", o.status, o.out, o.err);
	CHECK_MSG(lines(o.err) == 1 && strstr(o.err, kind->says), "%s", o.err);
	CHECK(!*o.out);
}

static void check_left_alone(const struct kind *kind)
{
	static const char *const ways[] = {"posix_spawn", "vfork",    "execve",	    "execvpe",
					   "fexecve",	  "execveat", "execveat-fd"};
	const char *program = needs(kind->program), *by = needs("MRN_WATCHED_EXEC");
	static struct outcome o;

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		NOTE("%s", ways[i]);
		check_unwatched(&o,
				REPORT(&o, "--children", "--", by, "child", ways[i], program,
				       EVENTS),
				kind->says);
		if (i >= 2)
			check_unwatched(&o, REPORT(&o, "--", by, "self", ways[i], program, EVENTS),
					kind->says);
	}
	/* Without us, nothing is there to be told of. */
	CHECK_EQ(figure(REPORT(&o, "--", by, "child", "execve", program, EVENTS),
			"unwatched_processes"),
		 0);
}

TEST(musl_is_refused)
{
	check_refused(&kinds[0]);
}

TEST(musl_is_left_alone)
{
	check_left_alone(&kinds[0]);
}

TEST(static_programs_are_left_alone)
{
	check_refused(&kinds[1]);
	check_left_alone(&kinds[1]);
}

TEST(programs_of_32_bits_are_left_alone)
{
	check_refused(&kinds[2]);
	check_left_alone(&kinds[2]);
}

/* Where an exec is not seen musl's loader finds no library of ours, and goes on without. */
TEST(musl_by_a_bare_call)
{
	const char *program = needs("MRN_SMALL_MUSL");
	static struct outcome o;

	RUN(&o, "watch", "--children", "--source", "interpose", "--", needs("MRN_WATCHED_EXEC"),
	    "child", "raw", program, "1");
	CHECK_MSG(!o.status && !strcmp(o.out, "small\n"), "%d: %s%s", o.status, o.out, o.err);
}

/* ------------------------------------------------------------------------- users, namespaces, environments */

TEST(a_child_that_has_changed_its_user)
{
	const char *by = needs("MRN_WATCHED_EXEC");
	static struct outcome o;

	if (geteuid())
		SKIP("only root can become somebody else");
	/* The program is to be executed by others, too, which a folder of root's may not allow. */
	check_unwatched(&o,
			REPORT(&o, "--children", "--", by, "nobody", "execve", "/bin/echo",
			       "small"),
			"user 65534, with the rights that it had, may not open the log");
}

static bool works(const char *command)
{
	return system(command) == 0;
}

TEST(a_child_with_another_proc)
{
	static struct outcome o;
	struct json_object *report;

	if (!works("unshare -fp --mount-proc true 2>/dev/null"))
		SKIP("no namespaces");
	report = REPORT(&o, "--children", "--", "unshare", "-fp", "--mount-proc", "echo", "small");
	CHECK_EQ(figure(report, "unwatched_processes"), 1);
	CHECK_MSG(strstr(o.err, "1 process could not be followed: in its namespace, or root "
				"folder, the log is not to be found"),
		  "%s", o.err);
}

/* It is a child all the same. */
TEST(a_child_with_an_empty_environment)
{
	const char *by = needs("MRN_WATCHED_EXEC"), *small = needs("MRN_SMALL");
	static struct outcome o;
	struct json_object *report = REPORT(&o, "--children", "--source", "interpose", "--", by,
					    "bare", "execve", small, EVENTS);

	CHECK_EQ(unmapped(report), 50);
	CHECK_EQ(figure(report, "unwatched_processes"), 0);
}

/* What somebody has set is there as it was, and no more. */
TEST(an_environment_of_the_users)
{
	static const char *const values[] = {"", "libm.so.6", "libm.so.6:", "libm.so.6 libc.so.6"};
	static struct outcome o;

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		char want[128];

		CHECK_EQ(setenv("LD_PRELOAD", values[i], 1), 0);
		CHECK_EQ(setenv("ASAN_OPTIONS", values[i], 1), 0);
		snprintf(want, sizeof(want), "%s|%s|none\n", values[i], values[i]);
		RUN(&o, "watch", "--", "sh", "-c",
		    "exec sh -c 'echo \"$LD_PRELOAD|$ASAN_OPTIONS|${MRN_WATCH-none}\"'");
		CHECK_MSG(!strcmp(o.out, want), "%s%s", o.out, o.err);
	}
	CHECK_EQ(unsetenv("LD_PRELOAD") | unsetenv("ASAN_OPTIONS"), 0);
	RUN(&o, "watch", "--", "sh", "-c",
	    "exec sh -c 'echo \"${LD_PRELOAD-none}${ASAN_OPTIONS-none}\"'");
	CHECK_MSG(!strcmp(o.out, "nonenone\n"), "%s%s", o.out, o.err);
}

/* ------------------------------------------------------------------------------------- sanitizers' runtimes */

/* gcc's AddressSanitizer wants to be the first library, and would end the program. */
TEST(a_runtime_that_wants_to_be_first)
{
	const char *small = needs("MRN_SMALL_ASAN");
	static struct outcome o;

	CHECK(unmapped(REPORT(&o, "--", small, EVENTS)) >= 50);
	CHECK_EQ(unmapped(REPORT(&o, "--source", "interpose", "--", small, EVENTS)), 50);
	CHECK_EQ(unmapped(REPORT(&o, "--source", "interpose", "--children", "--",
				 needs("MRN_WATCHED_EXEC"), "bare", "execve", small, EVENTS)),
		 50);
}

/* With a lane as it can be at most, a shell that has a limit goes on as a program that has no room for one. */
TEST(no_addresses_for_a_lane)
{
	static const char script[] = "ulimit -v 40000; exec \"$0\" " EVENTS;
	static struct outcome o;

	check_unwatched(&o,
			REPORT(&o, "--records", "1048576", "--", "sh", "-c", script,
			       needs("MRN_SMALL")),
			"ulimit -v");
}

TEST(no_descriptor_for_the_log)
{
	static struct outcome o;

	check_unwatched(&o,
			REPORT(&o, "--children", "--source", "interpose", "--", "sh", "-c",
			       "echo small >&2; ulimit -n 3; (:); :"),
			"ulimit -n");
}

/* What helps is said at once. */
TEST(no_addresses_for_the_log)
{
	const struct rlimit few = {256 << 20, RLIM_INFINITY};
	static struct outcome o;

	CHECK_EQ(setrlimit(RLIMIT_AS, &few), 0);
	RUN(&o, "watch", "--", needs("MRN_SMALL"), EVENTS);
	CHECK_MSG(o.status == 125 && lines(o.err) == 1, "%d: %s", o.status, o.err);
	CHECK_MSG(strstr(o.err, "ulimit -v") && strstr(o.err, "--records"), "%s", o.err);
	RUN(&o, "watch", "--records", "1024", "--", needs("MRN_SMALL"), EVENTS);
	CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
}

/* They free by system calls of their own, past libc: that nothing is seen of it is said. */
static void check_unseen(const char *program, const char *runtime)
{
	static struct outcome o;
	struct json_object *report =
		REPORT(&o, "--source", "interpose", "--", needs(program), EVENTS, "big");

	CHECK_EQ(unmapped(report), 0);
	CHECK_MSG(strstr(o.err, runtime) && strstr(o.err, ", which interpose does not see."), "%s",
		  o.err);
	CHECK(strstr(json_object_get_string(member(report, "unseen", json_type_string)), runtime));
}

TEST(a_runtime_that_frees_by_itself, .timeout_s = 120)
{
	static struct outcome o;
	struct json_object *report;

	check_unseen("MRN_SMALL_ASAN", "AddressSanitizer");
	report = REPORT(&o, "--source", "interpose", "--", needs("MRN_SMALL"), EVENTS, "big");
	CHECK_EQ(unmapped(report), 50);
	CHECK_EQ(json_object_get_string_len(member(report, "unseen", json_type_string)), 0);
}

TEST(thread_sanitizer_frees_by_itself, .timeout_s = 120)
{
	check_unseen("MRN_SMALL_TSAN", "ThreadSanitizer");
}
