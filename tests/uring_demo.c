/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mrn command as a user runs it: the demo's figures, its options, its exit statuses. MRN_TOOL in
 * the environment says where it is.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/test.h"

struct outcome {
	int status;
	char out[16384], err[4096];
};

static size_t read_all(FILE *f, char *to, size_t size)
{
	size_t n;

	rewind(f);
	n = fread(to, 1, size - 1, f);
	to[n] = '\0';
	return n;
}

static void run(struct outcome *o, const char *const *args)
{
	FILE *out = tmpfile(), *err = tmpfile();
	const char *argv[16] = {getenv("MRN_TOOL")};
	pid_t pid;

	if (!argv[0])
		SKIP("MRN_TOOL does not say where the mrn command is");
	for (int i = 0; args[i]; i++)
		argv[i + 1] = args[i];
	CHECK(out && err);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		dup2(fileno(out), STDOUT_FILENO);
		dup2(fileno(err), STDERR_FILENO);
		execv(argv[0], (char **)(uintptr_t)argv);
		_exit(126);
	}
	CHECK_EQ(waitpid(pid, &o->status, 0), pid);
	CHECK(WIFEXITED(o->status));
	o->status = WEXITSTATUS(o->status);
	read_all(out, o->out, sizeof(o->out));
	read_all(err, o->err, sizeof(o->err));
	fclose(out);
	fclose(err);
	if (o->status == 77)
		SKIP("%s", o->err);
}

#define RUN(o, ...) run(o, (const char *const[]){__VA_ARGS__, NULL})

/* ------------------------------------------------------------------------------------- the figures */

static struct json_object *member(struct json_object *in, const char *key, enum json_type type)
{
	struct json_object *value;

	CHECK_MSG(json_object_object_get_ex(in, key, &value), "no \"%s\"", key);
	CHECK_MSG(json_object_get_type(value) == type, "\"%s\" has another type", key);
	return value;
}

static int64_t figure(struct json_object *way, const char *key)
{
	return json_object_get_int64(member(way, key, json_type_int));
}

static bool covers(struct json_object *coverage, const char *name)
{
	for (size_t i = 0; i < json_object_array_length(coverage); i++)
		if (!strcmp(json_object_get_string(json_object_array_get_idx(coverage, i)), name))
			return true;
	return false;
}

TEST(demo_in_json, .timeout_s = 120)
{
	static const char *const names[] = {"naive", "each", "mrn"};
	static struct outcome o;
	struct json_object *report, *ways, *coverage;

	RUN(&o, "demo", "--json", "--seconds", "1", "--size", "64K", "--seed", "1");
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
	CHECK_MSG(!*o.err, "%s", o.err);
	report = json_tokener_parse(o.out);
	CHECK(report);
	ways = member(report, "ways", json_type_array);
	CHECK_EQ(json_object_array_length(ways), 3);
	for (size_t i = 0; i < 3; i++) {
		struct json_object *way = json_object_array_get_idx(ways, i);
		const char *name = json_object_get_string(member(way, "way", json_type_string));

		CHECK(!strcmp(name, names[i]));
		NOTE("%s: %jd transfers, %jd stale, %jd registrations, %jd hits, %jd retries", name,
		     (intmax_t)figure(way, "transfers"), (intmax_t)figure(way, "stale"),
		     (intmax_t)figure(way, "registrations"), (intmax_t)figure(way, "hits"),
		     (intmax_t)figure(way, "retries"));
		CHECK(figure(way, "transfers") > 0);
		CHECK(figure(way, "registrations") > 0);
		CHECK(json_object_get_double(member(way, "ns_per_transfer", json_type_double)) > 0);
		/* What the demo is there to show. */
		CHECK_EQ(figure(way, "stale") > 0, i == 0);
		CHECK_EQ(figure(way, "invalidations") > 0, i == 2);
		CHECK_EQ(figure(way, "hits") > 0, i != 1);
		if (i != 2)
			CHECK_EQ(figure(way, "retries"), 0);
	}
	CHECK(*json_object_get_string(member(report, "source", json_type_string)));
	coverage = member(report, "coverage", json_type_array);
	CHECK(covers(coverage, "munmap"));
	CHECK(covers(coverage, "libc_internal"));
	json_object_put(report);
}

TEST(demo_for_people, .timeout_s = 120)
{
	static struct outcome o;

	RUN(&o, "demo", "--seconds", "0.5", "--threads", "2");
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
	/* Not a terminal: no progress. */
	CHECK_MSG(!*o.err, "%s", o.err);
	CHECK(strstr(o.out, "naive"));
	CHECK(strstr(o.out, "moved bytes of memory that no longer exists; no error was reported"));
	CHECK(strstr(o.out, "mrn: all "));
}

TEST(demo_removes_its_file, .timeout_s = 120)
{
	static struct outcome o;
	char name[] = "/tmp/mrn-test-XXXXXX";
	int fd = mkstemp(name);

	CHECK(fd >= 0);
	close(fd);
	/* One that is there is somebody's. */
	RUN(&o, "demo", "--seconds", "0.2", "--file", name);
	CHECK_EQ(o.status, 1);
	CHECK(strstr(o.err, name));
	CHECK_EQ(unlink(name), 0);
	RUN(&o, "demo", "--seconds", "0.2", "--file", name);
	CHECK_EQ(access(name, F_OK), -1);
}

/* ------------------------------------------------------------------------------------- the options */

static unsigned int lines(const char *text)
{
	unsigned int n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

#define REFUSED(...)                                                          \
	do {                                                                  \
		static struct outcome o;                                      \
		RUN(&o, __VA_ARGS__);                                         \
		CHECK_MSG(o.status == 2, "%d: %s%s", o.status, o.out, o.err); \
		CHECK_MSG(lines(o.err) == 1, "not one line: %s", o.err);      \
		CHECK_MSG(!*o.out, "%s", o.out);                              \
		CHECK_MSG(!strncmp(o.err, "mrn", 3), "%s", o.err);            \
	} while (0)

TEST(wrong_options_are_one_line)
{
	REFUSED("nonsense");
	REFUSED("--nonsense");
	REFUSED("demo", "--nonsense");
	REFUSED("demo", "nonsense");
	REFUSED("demo", "--seconds");
	REFUSED("demo", "--seconds", "0");
	REFUSED("demo", "--seconds", "-1");
	REFUSED("demo", "--seconds", "five");
	REFUSED("demo", "--seconds", "nan");
	REFUSED("demo", "--threads", "0");
	REFUSED("demo", "--threads", "1000");
	REFUSED("demo", "--threads", "4x");
	REFUSED("demo", "--size", "1");
	REFUSED("demo", "--size", "256Q");
	REFUSED("demo", "--size", "256KK");
	REFUSED("demo", "--size", "99999999999999999999");
	REFUSED("demo", "--size", "99999999999G");
	REFUSED("demo", "--seed", "-1");
	REFUSED("demo", "--seed", "");
	REFUSED("demo", "--json=yes");
}

TEST(no_command_is_one_line)
{
	static struct outcome o;

	run(&o, (const char *const[]){NULL});
	CHECK_EQ(o.status, 2);
	CHECK_EQ(lines(o.err), 1);
}

TEST(help_and_version)
{
	static struct outcome o;

	RUN(&o, "--help");
	CHECK_EQ(o.status, 0);
	CHECK(strstr(o.out, "demo"));
	CHECK(!*o.err);
	RUN(&o, "--version");
	CHECK_EQ(o.status, 0);
	CHECK(!strncmp(o.out, "mrn ", 4));
	RUN(&o, "demo", "--help");
	CHECK_EQ(o.status, 0);
	CHECK(strstr(o.out, "--seconds"));
	CHECK(strstr(o.out, "--size"));
	RUN(&o, "demo", "--version");
	CHECK_EQ(o.status, 0);
	CHECK(!strncmp(o.out, "mrn ", 4));
}
