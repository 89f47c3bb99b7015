/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn demo: its figures, and its file.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/tools/fixture.h"

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
	char name[64];
	int fd = open(test_path(name, sizeof(name), "demo"),
		      O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

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
