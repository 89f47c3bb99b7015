/* SPDX-License-Identifier: BSD-3-Clause */
/* mrn watch and the children of a program: tests/tools/watched_children.c, which has them made in all ways. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/tools/fixture.h"

static const char *const sources[] = {"interpose", "dispatch"};

static const char *children(void)
{
	const char *path = getenv("MRN_WATCHED_CHILDREN");

	if (!path)
		SKIP("MRN_WATCHED_CHILDREN does not say where the program is");
	return path;
}

/* It goes as it does unwatched. */
static struct json_object *run(struct outcome *o, const char *const *args)
{
	struct json_object *report;

	run_tool(o, args);
	if (o->status == 125)
		SKIP("%s", o->err);
	CHECK_MSG(o->status == 0, "%d: %s%s", o->status, o->out, o->err);
	report = json_tokener_parse(o->out);
	CHECK_MSG(report, "%s", o->out);
	return report;
}
#define REPORT(o, ...) run(o, (const char *const[]){"watch", "--json", __VA_ARGS__, NULL})

/* A figure of a cause, or 0 where there is none. */
static int64_t of_cause(struct json_object *report, const char *cause, const char *key)
{
	struct json_object *causes = member(report, "causes", json_type_array);

	for (size_t i = 0; i < json_object_array_length(causes); i++) {
		struct json_object *c = json_object_array_get_idx(causes, i);

		if (!strcmp(json_object_get_string(member(c, "cause", json_type_string)), cause))
			return figure(c, key);
	}
	return 0;
}

/* The time is the vDSO's, which a fork leaves where it is: a program that lets nobody ask the kernel for it has times all the same. */
TEST(a_fork_leaves_the_vdso)
{
	static struct outcome o;

	for (int i = 0; i < 2; i++) {
		struct json_object *report =
			REPORT(&o, "--source", sources[i], "--", children(), "timeless", "50");

		CHECK_EQ(of_cause(report, "munmap", "events"), 50);
		CHECK_MSG(of_cause(report, "munmap", "p50_ns") > 0, "%s: %s", sources[i], o.out);
		json_object_put(report);
	}
}

TEST(a_childs_exec_is_an_event)
{
	const char *small = getenv("MRN_SMALL");
	static struct outcome o;

	for (int i = 0; i < 2; i++) {
		struct json_object *report = REPORT(&o, "--children", "--source", sources[i], "--",
						    children(), "executed", "0", small, "50");

		CHECK_EQ(of_cause(report, "munmap", "events"), 50);
		CHECK_MSG(of_cause(report, "exec", "events") == 1, "%s: %s", sources[i], o.out);
		CHECK_EQ(figure(report, "processes"), 2);
		CHECK_EQ(figure(report, "unwatched_processes"), 0);
		json_object_put(report);
	}
}

/* The only process that is not watched, and why. */
static const char *reason(struct json_object *report)
{
	struct json_object *reasons = member(report, "unwatched", json_type_array);

	CHECK_EQ(figure(report, "unwatched_processes"), 1);
	return json_object_get_string(
		member(json_object_array_get_idx(reasons, 0), "why", json_type_string));
}

TEST(a_child_in_a_sandbox_is_told_of)
{
	static struct outcome o;

	for (int i = 0; i < 2; i++) {
		struct json_object *report = REPORT(&o, "--children", "--source", sources[i], "--",
						    children(), "sandboxed", "50");

		CHECK_MSG(strstr(reason(report), "sandbox (seccomp)"), "%s: %s", sources[i], o.out);
		json_object_put(report);
	}
}

/* ------------------------------------------------------------------------------------- past libc's fork */

static const char *const ways[] = {"_Fork", "syscall", "clone3", "clone", "raw"};
#define NR_WAYS (sizeof(ways) / sizeof(ways[0]))

/* The first three come back to the interposer, on the parent's stack; the last one nobody but dispatch sees. */
TEST(a_child_past_libcs_fork_is_followed)
{
	static struct outcome o;

	for (size_t i = 0; i < 3; i++) {
		for (int k = 0; k < 2; k++) {
			struct json_object *report = REPORT(&o, "--children", "--source",
							    k ? "auto" : "interpose", "--",
							    children(), ways[i], "50");

			NOTE("%s", ways[i]);
			CHECK_EQ(of_cause(report, "munmap", "events"), 50);
			CHECK_EQ(of_cause(report, "fork", "events"), 1);
			CHECK_EQ(figure(report, "processes"), 2);
			CHECK_EQ(figure(report, "unwatched_processes"), 0);
			json_object_put(report);
		}
	}
}

/* Where it cannot be, that is told. */
TEST(a_child_past_libcs_fork_is_told_of)
{
	static struct outcome o;

	for (size_t i = 0; i < NR_WAYS; i++) {
		struct json_object *report = REPORT(&o, "--children", "--source", "dispatch", "--",
						    children(), ways[i], "50");

		NOTE("%s", ways[i]);
		CHECK_MSG(strstr(reason(report), "past libc's fork"), "%s: %s", ways[i], o.out);
		CHECK_EQ(of_cause(report, "munmap", "events"), 0);
		json_object_put(report);
	}
	CHECK(strstr(reason(REPORT(&o, "--children", "--source", "interpose", "--", children(),
				   "clone", "50")),
		     "past libc's fork"));
}

TEST(each_generation_is_told_of)
{
	static struct outcome o;
	struct json_object *report = REPORT(&o, "--children", "--source", "dispatch", "--",
					    children(), "raw-syscall", "50");

	CHECK_EQ(figure(report, "unwatched_processes"), 2);
}

/* It is there when it executes a program, and then it is not told of. */
TEST(what_a_child_past_libcs_fork_executes_is_followed)
{
	const char *small = getenv("MRN_SMALL");
	static struct outcome o;

	for (size_t i = 0; i < NR_WAYS; i++) {
		for (int k = 0; k < 2; k++) {
			struct json_object *report = REPORT(&o, "--children", "--source",
							    sources[k], "--", children(), ways[i],
							    "0", small, "50");

			NOTE("%s by %s", ways[i], sources[k]);
			CHECK_EQ(of_cause(report, "munmap", "events"), 50);
			CHECK_EQ(figure(report, "processes"), 2);
			CHECK_EQ(figure(report, "unwatched_processes"), 0);
			json_object_put(report);
		}
	}
}

TEST(libcs_own_fork_is_not_told_of)
{
	static struct outcome o;

	for (int k = 0; k < 2; k++) {
		struct json_object *report = REPORT(&o, "--children", "--source", sources[k], "--",
						    children(), "fork", "50");

		CHECK_EQ(of_cause(report, "munmap", "events"), 50);
		CHECK_EQ(figure(report, "processes"), 2);
		CHECK_EQ(figure(report, "unwatched_processes"), 0);
		json_object_put(report);
	}
}

/* libc hands the environment on that there is, without the recorder. */
TEST(shells_with_an_empty_environment_are_told_of)
{
	static struct outcome o;

	for (int k = 0; k < 2; k++) {
		struct json_object *report = REPORT(&o, "--children", "--source", sources[k], "--",
						    children(), "shells", "0");

		CHECK_EQ(figure(report, "unwatched_processes"), 2);
		CHECK_MSG(strstr(o.err, "system or popen"), "%s", o.err);
		json_object_put(report);
	}
}

/* ----------------------------------------------------------------------------------- how many, and where */

/* They run no more, and so they need no lane. */
TEST(zombies_are_not_in_the_way, .timeout_s = 120)
{
	static struct outcome o;
	struct json_object *report = REPORT(&o, "--children", "--source", "interpose", "--records",
					    "1024", "--", children(), "zombies", "400",
					    getenv("MRN_SMALL"), "0");

	CHECK_EQ(figure(report, "unwatched_processes"), 0);
	CHECK_EQ(of_cause(report, "munmap", "events"), 400);
}

/* For a shell that runs it somewhere else, in its place. */
static const char *tool(void)
{
	const char *path = getenv("MRN_TOOL");

	if (!path)
		SKIP("MRN_TOOL does not say where the mrn command is");
	return path;
}

/* There the kernel and /proc have different numbers for the same process. */
TEST(another_namespaces_proc)
{
	static struct outcome o;
	char command[1024];

	if (system("unshare -fp true 2>/dev/null"))
		SKIP("no namespaces");
	snprintf(command, sizeof(command),
		 "exec unshare -fp %s watch --children --json -- %s fork 50", tool(), children());
	CHECK_EQ(setenv("MRN_TOOL", "/bin/sh", 1), 0);
	RUN(&o, "-c", command);
	CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
	CHECK_EQ(of_cause(json_tokener_parse(o.out), "munmap", "events"), 50);
}

TEST(no_proc)
{
	static struct outcome o;
	char command[1024];

	if (system("unshare -m umount -l /proc 2>/dev/null"))
		SKIP("no namespaces");
	snprintf(command, sizeof(command),
		 "exec unshare -m sh -c 'umount -l /proc; exec %s watch true'", tool());
	CHECK_EQ(setenv("MRN_TOOL", "/bin/sh", 1), 0);
	RUN(&o, "-c", command);
	CHECK_MSG(o.status == 125 && lines(o.err) == 1 && strstr(o.err, "/proc"), "%d: %s",
		  o.status, o.err);
}
