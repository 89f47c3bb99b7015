/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn bench: what its suites print.
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

/*
 * The table of a suite that has run: each row is of one of the cases and beside one of the rivals, both
 * lists ended by NULL, its figures fit together, and every case is there.
 */
static void check_table(const struct outcome *o, const char *const *cases,
			const char *const *rivals)
{
	struct json_object *report, *rows;
	uint64_t seen = 0;

	CHECK_MSG(o->status == 0, "%d: %s%s", o->status, o->out, o->err);
	CHECK_MSG(!*o->err, "%s", o->err);
	report = json_tokener_parse(o->out);
	CHECK_MSG(report, "%s", o->out);
	rows = member(report, "rows", json_type_array);
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *r = json_object_array_get_idx(rows, i);
		unsigned int c = 0, rival = 0;
		double quotient;

		while (cases[c] && strcmp(text(r, "case"), cases[c]) != 0)
			c++;
		CHECK_MSG(cases[c], "case %s", text(r, "case"));
		seen |= UINT64_C(1) << c;
		while (rivals[rival] && strcmp(text(r, "rival"), rivals[rival]) != 0)
			rival++;
		CHECK_MSG(rivals[rival], "rival %s", text(r, "rival"));
		CHECK(figure(r, "n") > 0 && figure(r, "threads") > 0);
		CHECK(real(r, "ns") > 0 && real(r, "rival_ns") > 0);
		CHECK(real(r, "min") <= real(r, "ns") && real(r, "ns") <= real(r, "max"));
		CHECK(real(r, "rival_min") <= real(r, "rival_ns"));
		CHECK(real(r, "rival_ns") <= real(r, "rival_max"));
		/* As far as their decimals go. */
		quotient = real(r, "rival_ns") / real(r, "ns");
		CHECK(real(r, "ratio") < quotient * 1.01 + 0.001);
		CHECK(real(r, "ratio") > quotient * 0.99 - 0.001);
	}
	for (unsigned int c = 0; cases[c]; c++)
		CHECK_MSG(seen >> c & 1, "no case %s", cases[c]);
	json_object_put(report);
}

TEST(core_in_json, .timeout_s = 120)
{
	static const char *const cases[] = {"read_hot",
					    "read_random",
					    "miss",
					    "hit1",
					    "hit100",
					    "insert",
					    "remove",
					    "miss_clustered",
					    "hit1_clustered",
					    "insert_clustered",
					    "remove_clustered",
					    "miss_nested",
					    "hit1_nested",
					    "insert_nested",
					    "remove_nested",
					    "miss_overlapping",
					    "hit1_overlapping",
					    "insert_overlapping",
					    "remove_overlapping",
					    "two_pass",
					    NULL};
	static const char *const rivals[] = {"upstream-design", "two-loads", "one-pass",
					     "one-device", NULL};
	static struct outcome o;

	if (TEST_TSAN)
		SKIP("takes minutes, and core's own tests run the same code");
	RUN(&o, "bench", "core", "--quick", "--max-n", "100", "--rounds", "1", "--json");
	check_table(&o, cases, rivals);
}

TEST(core_for_people, .timeout_s = 120)
{
	static struct outcome o;

	RUN(&o, "bench", "core", "--quick", "--max-n", "100", "--rounds", "1", "--case",
	    "read_hot");
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
	CHECK_MSG(!*o.err, "%s", o.err);
	CHECK(strstr(o.out, "read_hot "));
	CHECK(strstr(o.out, "Left out for --quick: n = 10000000"));
}

TEST(hmm_in_json, .timeout_s = 120)
{
	static const char *const cases[] = {"cpu_fault", "cpu_fault_migrated", "range_fault",
					    "range_fault_fresh", NULL};
	static const char *const rivals[] = {"continue", "minor", NULL};
	static struct outcome o;

	RUN(&o, "bench", "hmm", "--quick", "--json");
	check_table(&o, cases, rivals);
}

TEST(one_case, .timeout_s = 120)
{
	static const char *const cases[] = {"cpu_fault", NULL};
	static const char *const rivals[] = {"continue", "minor", NULL};
	static struct outcome o;

	RUN(&o, "bench", "hmm", "--quick", "--rounds", "1", "--case", "cpu_fault", "--json");
	check_table(&o, cases, rivals);
}

TEST(nothing_above_max_n, .timeout_s = 120)
{
	static struct outcome o;

	RUN(&o, "bench", "hmm", "--quick", "--max-n", "1", "--rounds", "1");
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
	CHECK(strstr(o.out, "range_fault "));
	CHECK(!strstr(o.out, "cpu_fault"));
	CHECK(!strstr(o.out, " 64 "));
}
