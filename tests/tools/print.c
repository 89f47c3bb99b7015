/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What tables are made of: figures that keep to their column, names that are cut, and text in lines of 80.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness/test.h"
#include "tools/mrn/print.h"

static bool is_count(uint64_t value, int width, const char *text)
{
	return !strcmp(COUNT(value, width), text);
}

TEST(counts_are_exact_where_there_is_room)
{
	CHECK(is_count(0, 5, "0"));
	CHECK(is_count(99999, 5, "99999"));
	CHECK(is_count(100000, 5, "100k"));
	CHECK(is_count(99999999, 5, "99M"));
	CHECK(is_count(10000000, 7, "10000k"));
	CHECK(is_count(UINT64_MAX, 5, "18E"));
	CHECK(is_count(UINT64_MAX, 20, "18446744073709551615"));
}

static int more;

TEST(no_count_leaves_its_column)
{
	for (uint64_t value = 1; value < UINT64_MAX / 7; value = value * 7 + 1)
		for (int width = 5; width <= 20; width++)
			CHECK(strlen(COUNT(value, width + more)) <= (size_t)width);
}
TWIN(no_count_leaves_its_column, a_wider_one, more = 1);

TEST(reals_lose_their_decimals_first)
{
	CHECK(!strcmp(REAL(12.34, 1, 8), "12.3"));
	CHECK(!strcmp(REAL(1234567.8, 1, 8), "1234568"));
	CHECK(!strcmp(REAL(1234567890.0, 1, 8), "1234567k"));
	CHECK(!strcmp(REAL(99999.6, 0, 5), "99999"));
	CHECK(!strcmp(REAL(100000.6, 0, 5), "100k"));
	for (double value = 1e-3; value < 1e17; value *= 3)
		for (int width = 5; width <= 12; width++)
			CHECK(strlen(REAL(value, 2, width)) <= (size_t)width);
}

TEST(names_are_cut)
{
	static const char label[] = "f_with_a_long_name in libfoo.so, via free";
	char text[64];

	print_cut(text, sizeof(text), label, strstr(label, " in "), 63);
	CHECK(!strcmp(text, label));
	print_cut(text, sizeof(text), label, strstr(label, " in "), 37);
	CHECK_MSG(!strcmp(text, "f_with_a_lo... in libfoo.so, via free"), "%s", text);
	/* Nothing would be left of the name. */
	print_cut(text, sizeof(text), label, strstr(label, " in "), 30);
	CHECK_MSG(!strcmp(text, "f_with_a_long_name in libfo..."), "%s", text);
	print_cut(text, sizeof(text), label, NULL, 10);
	CHECK_MSG(!strcmp(text, "f_with_..."), "%s", text);
	/* Not between the two bytes of a letter. */
	print_cut(text, sizeof(text), "aaaaaa\xc3\xa4zzzzzz", NULL, 10);
	CHECK_MSG(!strcmp(text, "aaaaaa..."), "%s", text);
}

/* What print_filled puts on standard output. */
static const char *filled(const char *first, const char *indent, const char *text)
{
	static char said[4096];
	int pipe_of[2], kept = dup(STDOUT_FILENO);
	ssize_t n;

	CHECK_EQ(pipe(pipe_of), 0);
	fflush(stdout);
	CHECK_EQ(dup2(pipe_of[1], STDOUT_FILENO), STDOUT_FILENO);
	print_filled(first, indent, text);
	fflush(stdout);
	CHECK_EQ(dup2(kept, STDOUT_FILENO), STDOUT_FILENO);
	close(pipe_of[1]);
	n = read(pipe_of[0], said, sizeof(said) - 1);
	CHECK(n > 0);
	said[n] = '\0';
	return said;
}

TEST(text_is_filled)
{
	char words[1024] = "", twice[81];
	const char *said;

	CHECK(!strcmp(filled("a: ", "  ", "b c"), "a: b c\n"));
	CHECK(!strcmp(filled("a:", "  ", ""), "a:\n"));
	for (int i = 0; i < 100; i++)
		strcat(words, " five5");
	said = filled("names", "    ", words);
	for (const char *line = said; *line; line = strchr(line, '\n') + 1) {
		CHECK(strcspn(line, "\n") <= PRINT_WIDTH);
		CHECK(!strncmp(line, line == said ? "names" : "    five5", 5));
		CHECK(strchr(line, '\n')[-1] != ' ');
	}
	/* A word that is wider than a line has one to itself. */
	memset(twice, 'x', sizeof(twice) - 1);
	twice[80] = '\0';
	snprintf(words, sizeof(words), "a %s b", twice);
	said = filled("", "", words);
	CHECK(!strncmp(said, "a\nxxx", 5) && !strcmp(said + strlen(said) - 4, "x\nb\n"));
}

TEST(names_are_no_commands_of_a_terminal)
{
	char name[] = "a\x1b[31mb\nc\x7f\t \xc3\xa4";

	CHECK_MSG(!strcmp(print_plain(name), "a?[31mb?c?? \xc3\xa4"), "%s", name);
}
