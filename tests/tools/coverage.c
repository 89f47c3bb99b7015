/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn coverage: what it says of each cause under each source; and that it finds what is missed.
 */
#include <stdio.h>
#include <string.h>

#include "tests/tools/fixture.h"

static struct outcome said;

static const char *text(struct json_object *in, const char *key)
{
	return json_object_get_string(member(in, key, json_type_string));
}

static struct json_object *verdicts(struct json_object **report, const char *source,
				    const char *cause)
{
	if (cause)
		RUN(&said, "coverage", "--json", "--source", source, "--cause", cause);
	else
		RUN(&said, "coverage", "--json", "--source", source);
	CHECK_MSG(said.status == 0, "%d: %s%s", said.status, said.out, said.err);
	*report = json_tokener_parse(said.out);
	CHECK_MSG(*report, "%s", said.out);
	return member(*report, "rows", json_type_array);
}

/* The verdict of one; what was printed is in said.out. */
static const char *verdict(const char *source, const char *cause)
{
	static char result[32];
	struct json_object *report, *rows = verdicts(&report, source, cause), *row;

	CHECK_EQ(json_object_array_length(rows), 1);
	row = json_object_array_get_idx(rows, 0);
	CHECK(!strcmp(text(row, "cause"), cause) && !strcmp(text(row, "source"), source));
	snprintf(result, sizeof(result), "%s", text(row, "result"));
	json_object_put(report);
	return result;
}

#define CHECK_VERDICT(source, cause, want)                                               \
	do {                                                                             \
		const char *got_ = verdict(source, cause);                               \
		if (!strcmp(got_, "unsupported"))                                        \
			SKIP("%s", said.out);                                            \
		CHECK_MSG(!strcmp(got_, want), "%s of %s: %s", source, cause, said.out); \
	} while (0)

TEST(interpose)
{
	CHECK_VERDICT("interpose", "munmap", "bracketed");
	CHECK_VERDICT("interpose", "ftruncate", "bracketed");
	CHECK_VERDICT("interpose", "fork_write", "bracketed");
	CHECK_VERDICT("interpose", "execve", "bracketed");
	CHECK_VERDICT("interpose", "execve_raw", "missed");
	/* The pins have seen it, too. */
	CHECK_VERDICT("interpose", "munmap_raw", "missed");
	CHECK_MSG(strstr(said.out, "stale"), "%s", said.out);
}

TEST(uffd)
{
	CHECK_VERDICT("uffd", "munmap_raw", "before_return");
	CHECK_VERDICT("uffd", "dontneed", "use_once");
	CHECK_VERDICT("uffd", "mprotect", "missed");
}

TEST(dispatch)
{
	CHECK_VERDICT("dispatch", "munmap_raw", "bracketed");
	CHECK_VERDICT("dispatch", "dlclose", "bracketed");
	CHECK_VERDICT("dispatch", "fopen_w", "bracketed");
	CHECK_VERDICT("dispatch", "execve_raw", "bracketed");
	CHECK_VERDICT("dispatch", "uring_madvise", "use_once");
}

TEST(auto_takes_the_best_of_each)
{
	CHECK_VERDICT("dispatch", "thread_stack", "bracketed");
	CHECK_VERDICT("auto", "thread_stack", "bracketed");
	CHECK_VERDICT("auto", "uring_madvise", "use_once");
}

static void misses_nothing(const char *source)
{
	struct json_object *report, *rows = verdicts(&report, source, NULL);
	size_t n = json_object_array_length(rows), caught = 0;

	for (size_t i = 0; i < n; i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);
		const char *cause = text(row, "cause"), *result = text(row, "result");

		if (!strcmp(result, "unsupported")) {
			CHECK_MSG(*text(row, "why"), "%s: no reason", cause);
			NOTE("%s: %s", cause, text(row, "why"));
			continue;
		}
		CHECK_MSG(strcmp(result, "missed"), "%s: %s", cause, text(row, "why"));
		caught++;
	}
	json_object_put(report);
	NOTE("%zu of %zu", caught, n);
	if (!caught)
		SKIP("no %s here", source);
}

TEST(dispatch_misses_nothing, .slow = true, .timeout_s = 300)
{
	misses_nothing("dispatch");
}

TEST(auto_misses_nothing, .slow = true, .timeout_s = 300)
{
	misses_nothing("auto");
}

TEST(a_table)
{
	RUN(&said, "coverage", "--cause", "munmap");
	CHECK_EQ(said.status, 0);
	CHECK_MSG(!strncmp(said.out, "cause ", 6) && strstr(said.out, "dispatch") &&
			  strstr(said.out, "\nmunmap "),
		  "%s", said.out);
	CHECK(!*said.err);
}

TEST(wrong_options)
{
	REFUSED("coverage", "--source", "nonsense");
	REFUSED("coverage", "--cause", "nonsense");
	REFUSED("coverage", "nonsense");
	RUN(&said, "coverage", "--help");
	CHECK_EQ(said.status, 0);
	CHECK(strstr(said.out, "--source"));
}
