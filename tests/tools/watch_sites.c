/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn watch: whose calls it counts, what they are named after, and that the program finds its memory as it does unwatched.
 * The program is tests/tools/watched_sites.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/tools/fixture.h"

static const char *needs(const char *name)
{
	const char *path = getenv(name);

	if (!path)
		SKIP("%s is not set", name);
	return path;
}

static void needs_symbols(void)
{
	if (!getenv("MRN_WATCH_SYMBOLS"))
		SKIP("no names for functions");
}

/* How many events of a cause whose site begins so. */
static int64_t events(struct json_object *report, const char *cause, const char *begins)
{
	struct json_object *sites = member(report, "sites", json_type_array);
	int64_t n = 0;

	for (size_t i = 0; i < json_object_array_length(sites); i++) {
		struct json_object *s = json_object_array_get_idx(sites, i);
		const char *label = json_object_get_string(member(s, "site", json_type_string));

		if (!strcmp(json_object_get_string(member(s, "cause", json_type_string)), cause) &&
		    !strncmp(label, begins, strlen(begins)))
			n += figure(s, "events");
	}
	return n;
}

static struct json_object *report_of(const struct outcome *o)
{
	struct json_object *report;

	if (o->status == 125 || o->status == 77)
		SKIP("%s", o->err);
	CHECK_MSG(o->status == 0, "%d: %s%s", o->status, o->out, o->err);
	report = json_tokener_parse(o->out);
	CHECK_MSG(report, "%s%s", o->out, o->err);
	return report;
}

static const char *const sources[] = {"dispatch", "interpose"};
#define EACH_SOURCE(s) (size_t s = 0; s < sizeof(sources) / sizeof(sources[0]); s++)

/* The recorder's own calls, to make an environment for a program that is not there after all, are nobody's. */
TEST(an_exec_that_fails_is_an_exec)
{
	static struct outcome o;

	for
		EACH_SOURCE(s)
		{
			struct json_object *report;

			RUN(&o, "watch", "--json", "--source", sources[s], "--",
			    needs("MRN_WATCHED_SITES"), "exec", "9");
			report = report_of(&o);
			CHECK_MSG(events(report, "exec", "") == 9, "%s", o.out);
			CHECK_MSG(figure(report, "events") == 9, "%s", o.out);
		}
}

TEST(a_vfork_changes_nothing)
{
	static struct outcome o;

	RUN(&o, "watch", "--json", "--source", "dispatch", "--", needs("MRN_WATCHED_SITES"),
	    "vfork", "5");
	CHECK_EQ(figure(report_of(&o), "events"), 0);
}

TEST(a_library_that_is_named_like_ours)
{
	static struct outcome o;

	for
		EACH_SOURCE(s)
		{
			struct json_object *report;

			RUN(&o, "watch", "--json", "--source", sources[s], "--",
			    needs("MRN_WATCHED_SITES"), "net");
			report = report_of(&o);
			if (getenv("MRN_WATCH_SYMBOLS"))
				CHECK_MSG(events(report, "dontneed", "net_change in libmrn-") == 1,
					  "%s", o.out);
		}
}

TEST(code_where_other_code_was)
{
	static struct outcome o;
	struct json_object *report;

	needs_symbols();
#ifndef __x86_64__
	SKIP("makes code for x86-64");
#endif
	RUN(&o, "watch", "--json", "--", needs("MRN_WATCHED_SITES"), "replaced", needs("MRN_LATER"),
	    "later_function");
	report = report_of(&o);
	CHECK_MSG(events(report, "dontneed", "later_function in ") == 1, "%s", o.out);
	CHECK_MSG(events(report, "dontneed", "code made at run time") == 1, "%s", o.out);
}

/* As configure does: one program after the other under one name, each by a way of writing files. */
static void check_conftest(const char *with)
{
	static struct outcome o;
	static char script[2048];
	struct json_object *report;

	needs_symbols();
	snprintf(script, sizeof(script),
		 "d=$(mktemp -d) && cd $d && cp %s conftest && ./conftest && %s && ./conftest; "
		 "rm -rf $d",
		 needs("MRN_FIRST"), with);
	RUN(&o, "watch", "--children", "--json", "--", "sh", "-c", script);
	report = report_of(&o);
	/* Where its file was written to in place, it has no name any more. */
	CHECK_MSG(events(report, "dontneed", "first_function in conftest") == 1 ||
			  (strstr(with, "cat") && events(report, "dontneed", "conftest+0x") == 1 &&
			   strstr(o.out, "(replaced since)")),
		  "%s", o.out);
	CHECK_MSG(events(report, "dontneed", "second_function in conftest") == 1, "%s", o.out);
}

TEST(a_program_that_is_replaced)
{
	static char with[1024];

	snprintf(with, sizeof(with), "rm conftest && cp %s conftest", needs("MRN_SECOND"));
	check_conftest(with);
}

TEST(a_program_that_is_written_anew)
{
	static char with[1024];

	snprintf(with, sizeof(with), "cat %s > conftest", needs("MRN_SECOND"));
	check_conftest(with);
}

/* A copy of the first program in a folder of its own, of which something is done; then it, or what is made of it, runs. */
static struct json_object *report_of_copies(struct outcome *o, const char *what)
{
	const char *first = needs("MRN_FIRST");
	static char script[2048];

	needs_symbols();
	snprintf(script, sizeof(script), "cd %s && cp %s one && %s", test_folder(), first, what);
	RUN(o, "watch", "--children", "--json", "--source", "interpose", "--", "sh", "-c", script);
	return report_of(o);
}

/* Nobody has written to it tomorrow. */
TEST(a_file_with_a_time_to_come)
{
	static struct outcome o;
	struct json_object *report = report_of_copies(&o, "touch -d tomorrow one && ./one");

	CHECK_MSG(events(report, "dontneed", "first_function in one") == 1, "%s", o.out);
}

/* The recorder has no room for all of it; but that is no sign of another file. */
TEST(a_path_that_is_cut_off)
{
	static struct outcome o;
	struct json_object *report = report_of_copies(
		&o, "a=$(printf %0200d 0) && mkdir -p $a/$a && mv one $a/$a && $a/$a/one");

	CHECK_MSG(events(report, "dontneed", "") == 1, "%s", o.out);
	CHECK_MSG(!strstr(o.out, "(replaced since)"), "%s", o.out);
}

/* More programs than the command may have files open. */
TEST(more_files_than_descriptors, .timeout_s = 60)
{
	const struct rlimit few = {32, 32};
	static struct outcome o;
	struct json_object *report;

	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	report = report_of_copies(&o,
				  "for i in $(seq 60); do cp one two$i && ./two$i || exit 1; done");
	CHECK_MSG(events(report, "dontneed", "first_function in two") == 60, "%s", o.out);
}

/* More pieces of code than the recorder lists, one after the other at one address: some are unknown, none has another's name. */
TEST(more_code_than_can_be_listed, .timeout_s = 60)
{
	enum { TURNS = 1200 };
	static struct outcome o;

	needs_symbols();
	for
		EACH_SOURCE(s)
		{
			struct json_object *report;
			int64_t a, b, unknown;

			RUN(&o, "watch", "--json", "--source", sources[s], "--",
			    needs("MRN_WATCHED"), "turns", number(TURNS), needs("MRN_TURNS_A"),
			    needs("MRN_TURNS_B"));
			report = report_of(&o);
			a = events(report, "munmap", "turns_a in ");
			b = events(report, "munmap", "turns_b in ");
			unknown = events(report, "munmap", "unknown");
			CHECK_MSG(a && a <= TURNS / 2, "%s", o.out);
			CHECK_MSG(b && b <= TURNS / 2, "%s", o.out);
			CHECK_MSG(a + b + unknown == TURNS, "%s", o.out);
		}
}

/* From what one page takes to more than a lane. */
TEST(holes_stay_holes, .timeout_s = 120)
{
	static const int sizes[] = {4096, 16384, 65536, 1 << 20, 4313088, 64 << 20};
	static struct outcome o;

	for
		EACH_SOURCE(s)
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (int followed = 0; followed < 2; followed++) {
			char bytes[16];

			snprintf(bytes, sizeof(bytes), "%d", sizes[i]);
			RUN(&o, "watch", "--source", sources[s], followed ? "--children" : "--json",
			    "--", needs("MRN_WATCHED_SITES"), "hole", bytes);
			if (o.status == 125)
				SKIP("%s", o.err);
			CHECK_MSG(o.status == 0, "%s, %s bytes: %d: %s", sources[s], bytes,
				  o.status, o.err);
		}
}
