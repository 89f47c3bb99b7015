/* SPDX-License-Identifier: BSD-3-Clause */
/* mrn watch and the children of a program: tests/watched_children.c, which has them made in all ways. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool_fixture.h"

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
