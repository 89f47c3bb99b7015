/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn check finds what small programs do wrong, exactly where they do it: one test for each row of catalogue.def. The
 * program is a variable of the environment that names it, and gets the argument; findings are those that are expected, as
 * "GRADE INTERFACE CAUSE" in the alphabet's order with ", " between. A program ends with 77 if the kernel lacks what it needs.
 * ROW is seen by whatever source is the best, INTERPOSED without dispatch, NOBODYS by the named one and without privileges.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/tools/fixture.h"

#define MAX_FINDINGS 16
#define MAX_TEXT     96

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void text_of(struct json_object *finding, char text[MAX_TEXT])
{
	snprintf(text, MAX_TEXT, "%s %s %s",
		 json_object_get_string(member(finding, "grade", json_type_string)),
		 json_object_get_string(member(finding, "interface", json_type_string)),
		 json_object_get_string(member(finding, "cause", json_type_string)));
}

static size_t frames(struct json_object *finding, const char *stack)
{
	return json_object_array_length(member(finding, stack, json_type_array));
}

/* Each stack that the grade has is known. */
static void check_stacks(struct json_object *finding, const char *line)
{
	const char *grade = json_object_get_string(member(finding, "grade", json_type_string));

	CHECK_MSG(frames(finding, "changed_at"), "%s", line);
	CHECK_MSG(frames(finding, "used_at") || !strcmp(grade, "change"), "%s", line);
	CHECK_MSG(frames(finding, "registered_at") || !strcmp(grade, "flight"), "%s", line);
}

/* In the form of the table. */
static void read_findings(const char *path, char *list, size_t size)
{
	char text[MAX_FINDINGS][MAX_TEXT], *line = NULL;
	size_t n = 0, room = 0, used = 0;
	FILE *in = fopen(path, "re");

	CHECK(in);
	while (getline(&line, &room, in) > 0) {
		struct json_object *finding = json_tokener_parse(line);

		CHECK_MSG(finding, "%s", line);
		CHECK(n < MAX_FINDINGS);
		text_of(finding, text[n++]);
		check_stacks(finding, line);
		json_object_put(finding);
	}
	free(line);
	fclose(in);
	qsort(text, n, MAX_TEXT, by_text);
	*list = '\0';
	for (size_t i = 0; i < n; i++)
		used += (size_t)snprintf(list + used, size - used, "%s%s", i ? ", " : "", text[i]);
}

static bool fails(const char *findings)
{
	return strstr(findings, "use ") || strstr(findings, "flight ");
}

static void check_row(const char *source, const char *program, const char *argument,
		      const char *expected)
{
	static struct outcome o;
	char found[MAX_FINDINGS * MAX_TEXT];
	char file[128];
	const char *path = getenv(program);

	if (!path || !*path)
		SKIP("%s is not set: this interface was not there when it was built", program);
	test_path(file, sizeof(file), "findings");
	RUN(&o, "check", "--source", source, "--json", file, "--", path, argument);
	if (o.status == 77)
		SKIP("%s", o.err);
	read_findings(file, found, sizeof(found));
	CHECK_MSG(!strcmp(found, expected), "found \"%s\", not \"%s\"\n%s", found, expected, o.err);
	CHECK_MSG(o.status == (fails(expected) ? 66 : 0), "%d: %s", o.status, o.err);
}

/* The tool, too, and so the log. */
static void become_nobody(const char *program)
{
	const char *const paths[] = {getenv("MRN_TOOL"), getenv(program)};
	char folder[128];

	test_path(folder, sizeof(folder), ".");
	CHECK_EQ(chmod(folder, 0777), 0);
	CHECK(geteuid() || (!setregid(65534, 65534) && !setreuid(65534, 65534)));
	for (size_t i = 0; i < 2; i++)
		if (paths[i] && access(paths[i], X_OK))
			SKIP("nobody cannot read %s", paths[i]);
}

#define SEEN_BY(source, name, program, argument, findings)      \
	TEST(name)                                              \
	{                                                       \
		check_row(source, program, argument, findings); \
	}
#define NOBODYS(name, source, program, argument, findings)      \
	TEST(name)                                              \
	{                                                       \
		become_nobody(program);                         \
		check_row(source, program, argument, findings); \
	}
#define ROW(...)	SEEN_BY("auto", __VA_ARGS__)
#define INTERPOSED(...) SEEN_BY("interpose", __VA_ARGS__)
#include "tests/check/catalogue.def"
