/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes one JSON value: end what was begun in reverse order; give keys to members of objects, NULL in arrays. A failed
 * allocation is remembered; json_finish returns it.
 */
#ifndef MRN_TOOL_JSON_H
#define MRN_TOOL_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json_object;

#define JSON_DEPTH 8

struct json {
	struct json_object *open[JSON_DEPTH];
	unsigned int depth;
	bool failed;
};

/* The outermost value is an object. */
void json_start(struct json *j);
void json_begin_object(struct json *j, const char *key);
void json_begin_array(struct json *j, const char *key);
void json_end(struct json *j);

void json_u64(struct json *j, const char *key, uint64_t value);
void json_real(struct json *j, const char *key, double value);	/* with one decimal */
void json_real3(struct json *j, const char *key, double value); /* with three */
void json_string(struct json *j, const char *key, const char *value);

/* Ends and writes everything, and a newline. 0 or -errno. */
int json_finish(struct json *j, FILE *out);
/* The same in the fewest bytes, without a newline: for many small ones. */
int json_finish_short(struct json *j, FILE *out);

#endif
