/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn bench source: every case is there, of every source that this machine has, beside a process that has none.
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

static const char *const kinds[] = {"interpose", "uffd", "interpose+uffd", "dispatch"};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* The row of a case and a source; or NULL. */
static struct json_object *row(struct json_object *rows, const char *name, const char *source)
{
	size_t length = strlen(name);

	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *r = json_object_array_get_idx(rows, i);
		const char *found = text(r, "case");

		if (!strncmp(found, name, length) && found[length] == '.' &&
		    !strcmp(found + length + 1, source))
			return r;
	}
	return NULL;
}

static void check_figures(struct json_object *r)
{
	double quotient = real(r, "rival_ns") / real(r, "ns");

	CHECK_MSG(!strcmp(text(r, "rival"), "none"), "%s", text(r, "rival"));
	CHECK_EQ(figure(r, "n"), 100);
	CHECK_EQ(figure(r, "threads"), strncmp(text(r, "case"), "storm.", 6) ? 1 : 2);
	CHECK(real(r, "ns") > 0 && real(r, "rival_ns") > 0);
	CHECK(real(r, "min") <= real(r, "ns") && real(r, "ns") <= real(r, "max"));
	/* As far as their decimals go. */
	CHECK(real(r, "ratio") < quotient * 1.01 + 0.001);
	CHECK(real(r, "ratio") > quotient * 0.99 - 0.001);
}

/* Otherwise malloc and free write each of the large blocks that they are measured with. */
static void let_libc_fill_nothing(void)
{
	CHECK(!unsetenv("MALLOC_PERTURB_"));
}

TEST(bench_source_in_json, .timeout_s = 300)
{
	static const char *const cases[] = {"map_unmap",    "map_unmap_big", "map_unmap_watched",
					    "getppid",	    "malloc_free",   "malloc_free_small",
					    "getppid_bare", "storm"};
	static const size_t always = 6; /* of them: the others need x86-64, and two processors */
	static struct outcome o;
	struct json_object *report, *rows;
	size_t seen = 0;

	if (TEST_TSAN)
		SKIP("ThreadSanitizer makes calls inside itself, where dispatch cannot enter it");
	let_libc_fill_nothing();
	RUN(&o, "bench", "source", "--quick", "--rounds", "1", "--json");
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
	report = json_tokener_parse(o.out);
	CHECK_MSG(report, "%s", o.out);
	rows = member(report, "rows", json_type_array);
	for (size_t k = 0; k < KINDS; k++) {
		bool here = row(rows, "map_unmap", kinds[k]);

		/* A source is in all cases; or in none, with a reason. */
		if (!here)
			CHECK_MSG(strstr(o.err, " is left out: "), "no %s: %s", kinds[k], o.err);
		for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
			struct json_object *r = row(rows, cases[c], kinds[k]);

			CHECK_MSG(here || !r, "%s of %s", cases[c], kinds[k]);
			CHECK_MSG(!here || r || c >= always, "no %s of %s", cases[c], kinds[k]);
			if (r) {
				check_figures(r);
				seen++;
			}
		}
	}
	CHECK_EQ(json_object_array_length(rows), seen);
	/* That one needs nothing of the machine. */
	if (!test_is_sanitized())
		CHECK_MSG(row(rows, "map_unmap", "interpose"), "%s", o.err);
	json_object_put(report);
}

TEST(bench_source_none_above_max_n, .timeout_s = 120)
{
	static struct outcome o;

	if (TEST_TSAN)
		SKIP("ThreadSanitizer makes calls inside itself, where dispatch cannot enter it");
	let_libc_fill_nothing();
	RUN(&o, "bench", "source", "--quick", "--max-n", "99", "--rounds", "1", "--json");
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
	CHECK_MSG(!strstr(o.out, "map_unmap"), "%s", o.out);
}
