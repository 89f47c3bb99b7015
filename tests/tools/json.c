/* SPDX-License-Identifier: BSD-3-Clause */
/* The command's JSON: UTF-8, whatever bytes a name has. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/test.h"
#include "tools/mrn/json.h"

#define NO "\xef\xbf\xbd"

static void check_string(const char *value, const char *want)
{
	char *text = NULL, all[256];
	size_t size;
	FILE *f = open_memstream(&text, &size);
	struct json j;

	CHECK(f);
	json_start(&j);
	json_string(&j, "k", value);
	CHECK_ERR(json_finish_short(&j, f), 0);
	CHECK_EQ(fclose(f), 0);
	snprintf(all, sizeof(all), "{\"k\":\"%s\"}", want);
	CHECK_MSG(!strcmp(text, all), "%s and not %s", text, all);
	free(text);
}

TEST(names_that_are_text_stay)
{
	check_string("", "");
	check_string("a b/c", "a b/c");
	check_string("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
		     "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
	check_string("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf",
		     "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf");
	check_string("\x01\"", "\\u0001\\\"");
}

TEST(bytes_that_are_not_are_replaced)
{
	check_string("l\xffx", "l" NO "x");
	check_string("\x80\xbf", NO NO);
	/* Cut off; longer than it need be; a surrogate; beyond the last. */
	check_string("a\xc3", "a" NO);
	check_string("a\xe2\x82z", "a" NO NO "z");
	check_string("\xc0\xaf", NO NO);
	check_string("\xe0\x80\xaf", NO NO NO);
	check_string("\xed\xa0\x80", NO NO NO);
	check_string("\xf4\x90\x80\x80", NO NO NO NO);
	check_string("\xf8\x88\x80\x80\x80", NO NO NO NO NO);
}
