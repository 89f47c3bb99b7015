/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn bench regcache, register, trace and io_uring: every case is there, beside every rival.
 */
#include <string.h>

#include "tests/tools/fixture.h"

static const char *text(struct json_object *in, const char *key)
{
	return json_object_get_string(member(in, key, json_type_string));
}

static double real(struct json_object *in, const char *key)
{
	return json_object_get_double(member(in, key, json_type_double));
}

/* The row of a case, a rival and a number of threads; or NULL. */
static struct json_object *row(struct json_object *rows, const char *name, const char *rival,
			       int64_t threads)
{
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *r = json_object_array_get_idx(rows, i);

		if (!strcmp(text(r, "case"), name) && !strcmp(text(r, "rival"), rival) &&
		    figure(r, "threads") == threads)
			return r;
	}
	return NULL;
}

static struct json_object *measure(struct json_object **report, const char *suite)
{
	static struct outcome o;
	struct json_object *rows;

	RUN(&o, "bench", suite, "--quick", "--rounds", "1", "--json");
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
	*report = json_tokener_parse(o.out);
	CHECK_MSG(*report, "%s", o.out);
	rows = member(*report, "rows", json_type_array);
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *r = json_object_array_get_idx(rows, i);

		CHECK(figure(r, "n") > 0);
		CHECK(real(r, "ns") > 0 && real(r, "rival_ns") > 0 && real(r, "ratio") > 0);
	}
	return rows;
}

TEST(bench_regcache_in_json, .timeout_s = 120)
{
	static const char *const cases[] = {
		"hit_one",	  "hit_512",
		"miss",		  "miss_arena",
		"miss_arena_1m",  "miss_fresh",
		"miss_interpose", "miss_interpose_later",
		"miss_anon",	  "miss_anon_later",
		"invalidate",	  "invalidate_interpose",
		"dontneed",	  "dontneed_interpose",
		"malloc",
	};
	struct json_object *report, *rows;

	if (TEST_TSAN)
		SKIP("UCX's way into libc ends a program that ThreadSanitizer has instrumented");
	rows = measure(&report, "regcache");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		CHECK_MSG(row(rows, cases[i], "ucx", 1), "no %s", cases[i]);
	CHECK_EQ(figure(row(rows, "hit_one", "ucx", 1), "n"), 1);
	CHECK_EQ(figure(row(rows, "hit_512", "ucx", 1), "n"), 512);
	CHECK_MSG(row(rows, "hit_one", "look-up", 1) && row(rows, "hit_512", "look-up", 1),
		  "no limit");
	CHECK_MSG(!row(rows, "miss", "look-up", 1), "a limit of what is no hit");
	/* With two processors. */
	CHECK_EQ(!row(rows, "miss_two", "ucx", 2), !row(rows, "miss_two_anon", "one-thread", 2));
	for (int64_t threads = 1; threads <= 4; threads *= 4) {
		struct json_object *r = row(rows, "malloc", "plain", threads);

		CHECK_MSG(r && row(rows, "malloc", "ucx", threads), "no %jd threads",
			  (intmax_t)threads);
		CHECK(real(r, "hits") > 0 && real(r, "hits") < 1);
		CHECK(real(r, "rival_hits") > 0 && real(r, "rival_hits") < 1);
	}
	json_object_put(report);
}

TEST(bench_register_in_json, .timeout_s = 120)
{
	static const char *const cases[] = {"miss", "miss_anon", "hit"};
	static const char *const rivals[] = {"register-each", "plain"};
	struct json_object *report, *rows;

	if (TEST_TSAN)
		SKIP("UCX's way into libc ends a program that ThreadSanitizer has instrumented");
	rows = measure(&report, "register");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t j = 0; j < sizeof(rivals) / sizeof(rivals[0]); j++) {
			struct json_object *r = row(rows, cases[i], rivals[j], 1);

			CHECK_MSG(r, "no %s of %s", cases[i], rivals[j]);
			CHECK_EQ(figure(r, "n"), 4);
		}
	json_object_put(report);
}

TEST(bench_trace_in_json, .timeout_s = 120)
{
	static const char *const cases[] = {"mpi", "storage", "malloc"};
	static const char *const rivals[] = {"register-each", "plain", "registered-once"};
	struct json_object *report, *rows, *r, *value;

	if (TEST_TSAN)
		SKIP("UCX's way into libc ends a program that ThreadSanitizer has instrumented");
	rows = measure(&report, "trace");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t j = 0; j < sizeof(rivals) / sizeof(rivals[0]); j++)
			for (int64_t threads = 1; threads <= 4; threads *= 4) {
				r = row(rows, cases[i], rivals[j], threads);
				CHECK_MSG(r, "no %s of %s", cases[i], rivals[j]);
				CHECK(real(r, "hits") > 0 && real(r, "hits") < 1);
			}
	/* The checks find what a cache hands out that is told of no change, and nothing in ours. */
	r = row(rows, "storage", "plain", 1);
	if (!json_object_object_get_ex(r, "checked", &value))
		SKIP("nothing is checked without io_uring");
	CHECK(figure(r, "checked") > 0 && figure(r, "stale") == 0);
	CHECK(figure(r, "rival_stale") > 0 &&
	      figure(r, "rival_stale") < figure(r, "rival_checked"));
	json_object_put(report);
}

TEST(bench_io_uring_in_json, .timeout_s = 120)
{
	static const char *const cases[] = {"file_4k", "file_64k", "tmpfs_4k", "tmpfs_64k"};
	static const char *const rivals[] = {"plain", "register-each", "registered-once"};
	struct json_object *report, *rows = measure(&report, "io_uring");

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t j = 0; j < sizeof(rivals) / sizeof(rivals[0]); j++)
			CHECK_MSG(row(rows, cases[i], rivals[j], 1), "no %s of %s", cases[i],
				  rivals[j]);
	/* Left out by an older kernel, and then with both sizes. */
	CHECK_EQ(!row(rows, "socket_4k", "plain", 1), !row(rows, "socket_64k", "plain", 1));
	json_object_put(report);
}
