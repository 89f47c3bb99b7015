/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mrn command as a user runs it. MRN_TOOL in the environment says where it is.
 */
#ifndef TESTS_TOOL_FIXTURE_H
#define TESTS_TOOL_FIXTURE_H

#include <json-c/json.h>
#include <stdint.h>

#include "tests/harness/test.h"

struct outcome {
	int status;
	char out[65536], err[4096];
};

/* Runs it with these arguments, ended by NULL. Skips the test when the machine lacks what it needs. */
void run_tool(struct outcome *o, const char *const *args);
#define RUN(o, ...) run_tool(o, (const char *const[]){__VA_ARGS__, NULL})

/* A member of an object, which must be there and of this type; one that is a whole number. */
struct json_object *member(struct json_object *in, const char *key, enum json_type type);
int64_t figure(struct json_object *in, const char *key);

unsigned int lines(const char *text);
size_t longest_line(const char *text);

/* The program that tests of mrn watch have watched, tests/tools/watched.c. */
const char *watched(void);
/* As an argument; good until four more. */
const char *number(int n);

/* Wrong options: status 2, and one line that begins with the command's name. */
#define REFUSED(...)                                                                    \
	do {                                                                            \
		static struct outcome refused;                                          \
		RUN(&refused, __VA_ARGS__);                                             \
		CHECK_MSG(refused.status == 2, "%d: %s%s", refused.status, refused.out, \
			  refused.err);                                                 \
		CHECK_MSG(lines(refused.err) == 1, "not one line: %s", refused.err);    \
		CHECK_MSG(!*refused.out, "%s", refused.out);                            \
		CHECK_MSG(!strncmp(refused.err, "mrn", 3), "%s", refused.err);          \
	} while (0)

#endif
