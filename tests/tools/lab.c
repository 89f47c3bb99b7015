/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn lab: what it prints, and how it exits.
 */
#include <stdio.h>
#include <string.h>

#include "tests/tools/fixture.h"

static const char *const names[] = {
#define MODEL(name) #name,
#include "lab/models/models.def"
};

static const char *text(struct json_object *in, const char *key)
{
	return json_object_get_string(member(in, key, json_type_string));
}

static struct json_object *parse(const struct outcome *o)
{
	struct json_object *report = json_tokener_parse(o->out);

	CHECK_MSG(report, "%s", o->out);
	return report;
}

TEST(lab_in_json, .timeout_s = 120)
{
	static struct outcome o;
	struct json_object *report, *drivers;

	RUN(&o, "lab", "--ops", "500", "--seed", "1", "--json");
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
	CHECK_MSG(!*o.err, "%s", o.err);
	report = parse(&o);
	CHECK_EQ(figure(report, "seed"), 1);
	CHECK(!*text(report, "broke"));
	drivers = member(report, "drivers", json_type_array);
	CHECK_EQ(json_object_array_length(drivers), sizeof(names) / sizeof(names[0]));
	for (size_t i = 0; i < json_object_array_length(drivers); i++) {
		struct json_object *d = json_object_array_get_idx(drivers, i);

		CHECK_MSG(!strcmp(text(d, "driver"), names[i]), "%s", text(d, "driver"));
		CHECK_EQ(figure(d, "ops"), 500);
		CHECK_EQ(figure(d, "stale"), 0);
		CHECK_EQ(figure(d, "asserts"), 0);
		CHECK_EQ(figure(d, "leaks"), 0);
		CHECK(figure(d, "faults") >= 0 && figure(d, "retries") >= 0);
		CHECK(figure(d, "invalidations") >= 0 && figure(d, "refusals") >= 0);
		CHECK(json_object_get_double(member(d, "ns_per_op", json_type_double)) > 0);
		CHECK(!*text(d, "finding"));
	}
	json_object_put(report);
}

TEST(lab_finds_what_is_broken, .timeout_s = 120)
{
	static struct outcome o;
	struct json_object *report, *d;

	if (test_is_sanitized())
		SKIP("broken models race on purpose");
	RUN(&o, "lab", "--driver", "umem_odp", "--break", "no_retry", "--ops", "20000", "--json");
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
	report = parse(&o);
	CHECK(!strcmp(text(report, "broke"), "no_retry"));
	d = json_object_array_get_idx(member(report, "drivers", json_type_array), 0);
	CHECK(figure(d, "stale") + figure(d, "asserts") > 0);
	CHECK(strstr(text(d, "finding"), "the last events"));
	CHECK_EQ(figure(d, "ops"), 20000);
	json_object_put(report);
	RUN(&o, "lab", "--driver", "umem_odp", "--break", "no_retry", "--ops", "20000", "--stop",
	    "--json");
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
	report = parse(&o);
	d = json_object_array_get_idx(member(report, "drivers", json_type_array), 0);
	CHECK(figure(d, "ops") < 20000);
	json_object_put(report);
}

/* One operation is not enough for anything to go wrong in: then it says so. */
TEST(lab_that_finds_nothing_says_so, .timeout_s = 120)
{
	static struct outcome o;

	if (test_is_sanitized())
		SKIP("broken models race on purpose");
	RUN(&o, "lab", "--driver", "umem_odp", "--break", "queue_twice", "--ops", "1");
	if (o.status == 0)
		SKIP("it was found in one operation");
	CHECK_EQ(o.status, 1);
	CHECK_MSG(strstr(o.err, "should have been found out"), "%s", o.err);
}

TEST(lab_for_people, .timeout_s = 120)
{
	static struct outcome o;

	RUN(&o, "lab", "--driver", "dmirror", "--ops", "500", "--seed", "77");
	CHECK_MSG(o.status == 0, "%d: %s%s", o.status, o.out, o.err);
	CHECK_MSG(!*o.err, "%s", o.err);
	CHECK(strstr(o.out, "driver          ops"));
	CHECK(strstr(o.out, "retries/op"));
	CHECK(strstr(o.out, "The seed was 77."));
}

#define STEP(number, name, words) +1
#define CUTS(how, name, words)	  +1
#define IGNORES(event, name)	  +1
enum {
	SCIF_DMA_STEPS =
#include "lab/steps/scif_dma.def"
};
#undef STEP
#undef CUTS
#undef IGNORES

/* On each line the driver, the step, and some words. */
TEST(lab_lists_steps)
{
	static struct outcome o;

	RUN(&o, "lab", "--list-steps");
	CHECK_EQ(o.status, 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		CHECK_MSG(strstr(o.out, names[i]), "%s", names[i]);
	CHECK(lines(o.out) > sizeof(names) / sizeof(names[0]));
	RUN(&o, "lab", "--driver", "scif_dma", "--list-steps");
	CHECK_EQ(o.status, 0);
	CHECK_EQ(lines(o.out), SCIF_DMA_STEPS);
	for (char *line = strtok(o.out, "\n"); line; line = strtok(NULL, "\n")) {
		char driver[16] = "", step[32] = "", words[128] = "";
		int n = sscanf(line, "%15s %31s %127[^\n]", driver, step, words);

		CHECK_EQ(n, 3);
		CHECK_MSG(!strcmp(driver, "scif_dma") && strchr(words, ' '), "%s", line);
	}
}
