/* SPDX-License-Identifier: BSD-3-Clause */
/* What mrn check says at the end of what it has found more than once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/tool/counts.h"
#include "check/tool/options.h"
#include "tests/harness/break.h"
#include "tests/harness/test.h"

enum { NOWHERE, PROGRAM, LIBC, URING, FILES };
enum { UNKNOWN, MAIN, MAIN_TOO, OTHER, PLAIN, UNMAP, SUBMIT, SITES };

static struct origin file[FILES] = {
	[NOWHERE] = {.path = (char[]){""}},
	[PROGRAM] = {.path = (char[]){"/tmp/program"}},
	[LIBC] = {.path = (char[]){"/usr/lib/x86_64-linux-gnu/libc.so.6"}},
	[URING] = {.path = (char[]){"/usr/lib/x86_64-linux-gnu/liburing.so.2.3"}},
};
static struct site site[SITES] = {
	[UNKNOWN] = {.label = "unknown", .line = ""},
	[MAIN] = {.at = {PROGRAM, 1}, .label = "main in program", .line = "program.c:5"},
	[MAIN_TOO] = {.at = {PROGRAM, 2}, .label = "main in program", .line = "program.c:5"},
	[OTHER] = {.at = {PROGRAM, 3}, .label = "other in program", .line = "program.c:9"},
	[PLAIN] = {.at = {PROGRAM, 4}, .label = "plain in program", .line = ""},
	[UNMAP] = {.at = {LIBC, 1}, .label = "__munmap in libc.so.6", .line = "munmap.S:117"},
	[SUBMIT] = {.at = {URING, 1}, .label = "submit in liburing.so.2.3", .line = ""},
};
static struct collected item[8];
static struct collection c = {
	.sites = {.site = site, .nr = SITES, .file = file, .nr_files = FILES},
	.item = item,
};

const char *check_grade_name(unsigned int grade)
{
	return grade == CHECK_CHANGE ? "change" : "use";
}

/* Found so often, with these innermost frames of its use, or of its change. */
static void add(enum check_grade grade, uint32_t count, uint32_t inner, uint32_t outer)
{
	struct collected *it = &item[c.nr++];
	struct collected_stack *s = grade == CHECK_CHANGE ? &it->changed : &it->used;

	it->finding.grade = (uint8_t)grade;
	it->finding.count = count;
	it->printed = true;
	s->nr = 2;
	s->frame[0] = inner;
	s->frame[1] = outer;
}

static void check_said(const char *expected)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	CHECK(out);
	counts_print(out, &c);
	CHECK(!fclose(out));
	CHECK_MSG(!strcmp(text, expected), "%s", text);
	free(text);
}

TEST(a_place_is_the_program_s_own)
{
	add(CHECK_CHANGE, 3, UNMAP, MAIN);
	add(CHECK_USE, 2, SUBMIT, PLAIN);
	add(CHECK_USE, 4, PLAIN, OTHER);
	/* Nothing else is known of it. */
	add(CHECK_CHANGE, 5, UNMAP, UNMAP);
	check_said("mrn check: 3 times: the change in main in program (program.c:5)\n"
		   "mrn check: 2 times: the use in plain in program\n"
		   "mrn check: 4 times: the use in other in program (program.c:9)\n"
		   "mrn check: 5 times: the change in __munmap in libc.so.6 (munmap.S:117)\n");
}
TWIN(a_place_is_the_program_s_own, called, BREAK(CHECK_CALLED));

TEST(what_reads_the_same_is_one_line)
{
	add(CHECK_USE, 3, SUBMIT, MAIN);
	add(CHECK_CHANGE, 2, SUBMIT, MAIN);
	add(CHECK_USE, 1, SUBMIT, MAIN_TOO);
	add(CHECK_USE, 7, SUBMIT, OTHER);
	add(CHECK_USE, 9, SUBMIT, MAIN);
	item[4].printed = false;
	check_said("mrn check: 4 times in 2 reports: the use in main in program (program.c:5)\n"
		   "mrn check: 2 times: the change in main in program (program.c:5)\n"
		   "mrn check: 7 times: the use in other in program (program.c:9)\n");
}
TWIN(what_reads_the_same_is_one_line, apart, BREAK(CHECK_APART));

TEST(what_was_found_once_is_not_counted)
{
	add(CHECK_USE, 1, SUBMIT, MAIN);
	add(CHECK_USE, 1, SUBMIT, MAIN_TOO);
	check_said("");
}
