/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn watch: the files that it writes. They are whole, small, and say what the tables say. The program is
 * tests/tools/watched.c; MRN_WATCHED says where it is.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/tools/fixture.h"

#define PAGE 4096

/* For twins: the program does less, or the trace is looked at as it is before it is packed. */
static int less;
static bool unpacked;

/* The path of a file of the test's own. */
static const char *temporary(const char *name)
{
	static char path[4][64];
	static int next;
	char *p = path[next++ % 4];

	test_path(p, sizeof(path[0]), name);
	return p;
}

static size_t size_of(const char *path)
{
	struct stat st;

	CHECK_MSG(!stat(path, &st), "%s", path);
	return (size_t)st.st_size;
}

/* Unpacked, if it is packed. */
static char *text_of(const char *path)
{
	enum { MOST = 64 << 20 };
	char command[128], *text = malloc(MOST);
	size_t n;
	FILE *f;

	snprintf(command, sizeof(command), "gzip -cdf %s", path);
	f = popen(command, "r");
	CHECK(f && text);
	n = fread(text, 1, MOST - 1, f);
	CHECK(n > 0 && n < MOST - 1);
	text[n] = '\0';
	CHECK_EQ(pclose(f), 0);
	return text;
}

static struct json_object *json_of(const char *path)
{
	char *text = text_of(path);
	struct json_object *o = json_tokener_parse(text);

	CHECK_MSG(o, "%s: %.200s", path, text);
	free(text);
	return o;
}

static const char *string(struct json_object *in, const char *key)
{
	return json_object_get_string(member(in, key, json_type_string));
}

/* ---------------------------------------------------------------------------------------- the trace */

/* The next event of the trace, or NULL; not what names a process. */
static struct json_object *next_event(struct json_object *trace, size_t *i)
{
	struct json_object *events = member(trace, "traceEvents", json_type_array);

	while (*i < json_object_array_length(events)) {
		struct json_object *e = json_object_array_get_idx(events, (*i)++);

		if (!strcmp(string(e, "ph"), "X"))
			return e;
	}
	return NULL;
}

TEST(a_trace_has_every_event)
{
	const char *path = temporary("trace.json.gz");
	struct json_object *trace, *e;
	static struct outcome o;
	int64_t seen = 0;
	size_t i = 0;

	RUN(&o, "watch", "--source", "interpose", "-o", path, "--", watched(), "threads", "4",
	    number(100 - less));
	CHECK_EQ(o.status, 0);
	trace = json_of(path);
	while ((e = next_event(trace, &i))) {
		struct json_object *args = member(e, "args", json_type_object);
		uint64_t start, stop;

		CHECK(!strcmp(string(e, "name"), "munmap"));
		CHECK(!strcmp(string(args, "cause"), "munmap"));
		CHECK(json_object_get_double(member(e, "ts", json_type_double)) > 0);
		CHECK(json_object_get_double(member(e, "dur", json_type_double)) > 0);
		CHECK(figure(e, "tid") != figure(e, "pid"));
		CHECK_EQ(figure(args, "bytes"), 3 * PAGE);
		CHECK(sscanf(string(args, "range"), "0x%" SCNx64 "-0x%" SCNx64, &start, &stop) ==
		      2);
		CHECK_EQ(stop - start, 3 * PAGE);
		if (getenv("MRN_WATCH_SYMBOLS"))
			CHECK(strstr(string(args, "site"), "watched_unmap"));
		seen++;
	}
	CHECK_EQ(seen, 400);
	json_object_put(trace);
}
TWIN(a_trace_has_every_event, one_less, less = 1);

/* How many events the trace has of a row of the table by call site, and their bytes. */
static void count(struct json_object *trace, struct json_object *row, int64_t *events,
		  int64_t *bytes)
{
	struct json_object *e;
	/* A twin does not look at the first, which comes after its process's name. */
	size_t i = less ? 2 : 0;

	*events = *bytes = 0;
	while ((e = next_event(trace, &i))) {
		struct json_object *args = member(e, "args", json_type_object);

		if (strcmp(string(e, "name"), string(row, "cause")) ||
		    strcmp(string(args, "site"), string(row, "site")))
			continue;
		*events += 1;
		*bytes += figure(args, "bytes");
	}
}

TEST(a_trace_has_the_rows_of_the_tables)
{
	const char *path = temporary("trace.json.gz"), *tables = temporary("tables.json");
	struct json_object *trace, *report, *rows;
	static struct outcome o;
	int64_t all = 0;
	char json[80];

	snprintf(json, sizeof(json), "--json=%s", tables);
	RUN(&o, "watch", "-o", path, json, "--children", "--", watched(), "fork", "300", "70");
	CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
	trace = json_of(path);
	report = json_of(tables);
	rows = member(report, "sites", json_type_array);
	CHECK(json_object_array_length(rows) >= 2);
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);
		int64_t events, bytes;

		count(trace, row, &events, &bytes);
		CHECK_EQ(events, figure(row, "events"));
		CHECK_EQ(bytes, figure(row, "bytes"));
		all += events;
	}
	CHECK_EQ(all, figure(report, "events"));
	CHECK(all >= 370);
	json_object_put(trace);
	json_object_put(report);
}
TWIN(a_trace_has_the_rows_of_the_tables, one_less, less = 1);

/* Which other clock a process has, in a time namespace, is not the trace's. */
TEST(a_trace_has_one_clock)
{
	static const char *const by[] = {"100000", "-10"};
	const char *path = temporary("trace.json.gz");
	static struct outcome o;

	if (system("unshare -T --monotonic 1 --fork true 2>/dev/null"))
		SKIP("no time namespaces");
	for (int k = 0; k < 2; k++) {
		struct json_object *trace, *events;

		RUN(&o, "watch", "--children", "-o", path, "--", "unshare", "-T", "--monotonic",
		    by[k], "--fork", watched(), "count", "50", "0");
		CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
		trace = json_of(path);
		events = member(trace, "traceEvents", json_type_array);
		CHECK(json_object_array_length(events) >= 50);
		for (size_t i = 0; i < json_object_array_length(events); i++) {
			struct json_object *e = json_object_array_get_idx(events, i), *ts;

			if (json_object_object_get_ex(e, "ts", &ts))
				CHECK_MSG(json_object_get_double(ts) < 60e6, "%s",
					  json_object_to_json_string(e));
		}
		json_object_put(trace);
	}
}

/* A million are to be a file that one can send: 30 bytes each at most. */
TEST(a_trace_is_small, .timeout_s = 120)
{
	enum { EVENTS = 100000 };
	const char *path = temporary("trace"), *text = temporary("text");
	static struct outcome o;
	size_t size;

	if (!getenv("MRN_WATCH_ZLIB"))
		SKIP("built without zlib");
	RUN(&o, "watch", "--source", "interpose", "-o", path, "--", watched(), "threads", "4",
	    number(EVENTS / 4));
	CHECK_EQ(o.status, 0);
	if (unpacked) {
		char command[256];

		snprintf(command, sizeof(command), "gzip -cd %s >%s", path, text);
		CHECK_EQ(system(command), 0);
	}
	size = size_of(unpacked ? text : path);
	NOTE("%zu bytes", size);
	CHECK(size <= 30l * EVENTS);
}
TWIN(a_trace_is_small, unpacked, unpacked = true);

/* -------------------------------------------------------------------------------------------- the page */

/* The figures of its rectangles, nine each; where there are very many, some are made one. */
TEST(a_page_counts_every_event, .timeout_s = 120)
{
	enum { EVENTS = 100000, FIGURES = 9, OF_EVENTS = 7, OF_BYTES = 8 };
	const char *path = temporary("page.html"), *at;
	int64_t figures[FIGURES], events = 0, bytes = 0;
	static struct outcome o;
	size_t rects = 0;
	char *page;

	RUN(&o, "watch", "--source", "interpose", "--report", path, "--", watched(), "count",
	    number(EVENTS - less), "0");
	CHECK_EQ(o.status, 0);
	page = text_of(path);
	CHECK(size_of(path) < 6 << 20);
	at = strstr(page, "\"rects\":[");
	CHECK(at);
	for (at += strlen("\"rects\":["); *at != ']'; rects++) {
		for (int i = 0; i < FIGURES; i++) {
			char *end;

			figures[i] = strtoll(at, &end, 10);
			CHECK(end > at);
			at = *end == ',' ? end + 1 : end;
		}
		CHECK(figures[0] <= figures[1] && figures[3] <= figures[4]);
		events += figures[OF_EVENTS];
		bytes += figures[OF_BYTES];
	}
	NOTE("%zu rectangles", rects);
	CHECK(rects <= 80000);
	CHECK_EQ(events, EVENTS);
	CHECK_EQ(bytes, 3l * PAGE * EVENTS);
	free(page);
}
TWIN(a_page_counts_every_event, one_less, less = 1);

/* -------------------------------------------------------------------------------------------- the JSON */

TEST(json_in_a_file_leaves_the_output_to_the_program)
{
	const char *path = temporary("tables.json");
	struct json_object *report;
	static struct outcome o;
	char json[80];
	int in[2];

	CHECK_EQ(pipe(in), 0);
	CHECK_EQ(write(in[1], "one\ntwo", 7), 7);
	close(in[1]);
	CHECK_EQ(dup2(in[0], STDIN_FILENO), STDIN_FILENO);
	snprintf(json, sizeof(json), "--json=%s", path);
	RUN(&o, "watch", json, "--", watched(), "copy");
	CHECK_EQ(o.status, 0);
	CHECK_MSG(!strcmp(o.out, "one\ntwo"), "%s", o.out);
	report = json_of(path);
	CHECK_EQ(figure(report, "processes"), 1);
	json_object_put(report);
}

/* With none, standard output is the JSON's alone, and nothing of the program's is lost. */
TEST(json_on_standard_output_is_alone_there)
{
	static const char *const ways[] = {"--json", "--json=-"};
	static struct outcome o;
	struct json_object *report;

	for (int i = 0; i < 2; i++) {
		RUN(&o, "watch", ways[i], "--", "echo", "what the program says");
		CHECK_EQ(o.status, 0);
		report = json_tokener_parse(o.out);
		CHECK_MSG(report && !strncmp(o.out, "{\n", 2), "%s", o.out);
		CHECK_MSG(!strncmp(o.err, "what the program says\n", 22), "%s", o.err);
		json_object_put(report);
	}
}

/* A descriptor that is open already has a name. */
TEST(json_on_a_descriptor)
{
	struct json_object *report;
	static struct outcome o;
	static char text[65536];
	int out[2];

	CHECK_EQ(pipe(out), 0);
	CHECK_EQ(dup2(out[1], 77), 77);
	RUN(&o, "watch", "--json=/dev/fd/77", "--", watched(), "count", "30", "7");
	CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
	CHECK(!*o.out);
	CHECK(read(out[0], text, sizeof(text) - 1) > 0);
	report = json_tokener_parse(text);
	CHECK_MSG(report, "%s", text);
	CHECK_EQ(figure(report, "events"), 37);
	json_object_put(report);
}

/* -------------------------------------------------------------------------------- what cannot be written */

/* Found out before the program has been run. */
TEST(a_file_that_cannot_be_made)
{
	static const char *const options[] = {"--output=/nonexistent/file",
					      "--report=/nonexistent/file",
					      "--json=/nonexistent/file"};
	static struct outcome o;

	for (int i = 0; i < 3; i++) {
		RUN(&o, "watch", options[i], "--", "echo", "has run");
		CHECK_EQ(o.status, 125);
		CHECK_MSG(!*o.out, "%s", o.out);
		CHECK_EQ(lines(o.err), 1);
		CHECK_MSG(strstr(o.err, "mrn watch: /nonexistent/file: No such file"), "%s", o.err);
	}
}

TEST(a_file_that_is_asked_for_twice)
{
	const char *path = temporary("both");
	static struct outcome o;

	RUN(&o, "watch", "-o", path, "--report", path, "--", "echo", "has run");
	CHECK_EQ(o.status, 125);
	CHECK_MSG(!*o.out, "%s", o.out);
	CHECK_EQ(lines(o.err), 1);
	CHECK_MSG(strstr(o.err, "cannot take two outputs"), "%s", o.err);
}

/* How many messages of the command's own, beside the tables. */
static unsigned int messages(const char *text, const char *says)
{
	unsigned int n = 0;

	while ((text = strstr(text, "mrn watch: "))) {
		CHECK_MSG(!strncmp(text + 11, says, strlen(says)), "%s", text);
		text++;
		n++;
	}
	return n;
}

/* Each is told of, and none keeps the others from being written. */
TEST(a_disk_that_is_full)
{
	const char *path = temporary("tables.json"), *full = "/dev/full: No space left on device\n";
	static struct outcome o;
	char json[80];

	if (access("/dev/full", W_OK))
		SKIP("no /dev/full");
	RUN(&o, "watch", "-o", "/dev/full", "--", watched(), "count", "10", "0");
	CHECK_EQ(o.status, 125);
	CHECK_EQ(messages(o.err, full), 1);
	snprintf(json, sizeof(json), "--json=%s", path);
	RUN(&o, "watch", "-o", "/dev/full", "--report=/dev/full", json, "--", watched(), "count",
	    "1000", "0");
	CHECK_EQ(o.status, 125);
	CHECK_EQ(messages(o.err, full), 2);
	CHECK(strstr(o.err, "1000 invalidations"));
	json_object_put(json_of(path));
	RUN(&o, "watch", "--json=/dev/full", "--", watched(), "count", "10", "0");
	CHECK_EQ(o.status, 125);
	CHECK_EQ(messages(o.err, full), 1);
}

/* A limit on files does not kill the command by a signal; nor does it keep the log from being made. */
TEST(a_file_that_grows_too_large)
{
	const struct rlimit limit = {65536, RLIM_INFINITY};
	const char *path = temporary("trace");
	static struct outcome o;
	char says[128];

	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
	RUN(&o, "watch", "-o", path, "--", watched(), "count", "10", "0");
	CHECK_MSG(o.status == 0, "%d: %s", o.status, o.err);
	CHECK_MSG(strstr(o.err, "10 invalidations"), "%s", o.err);
	RUN(&o, "watch", "-o", path, "--", watched(), "count", "30000", "0");
	CHECK_MSG(o.status == 125, "%d: %s", o.status, o.err);
	snprintf(says, sizeof(says), "%s: File too large", path);
	CHECK_EQ(messages(o.err, says), 1);
	CHECK(strstr(o.err, "30000 invalidations"));
}
