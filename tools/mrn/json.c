/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <json-c/json.h>

#include "tools/mrn/json.h"

/* Takes the reference to value in any case. */
static void put(struct json *j, const char *key, struct json_object *value)
{
	struct json_object *in = j->open[j->depth - 1];
	int r;

	if (!value || !in) {
		j->failed = true;
		json_object_put(value);
		return;
	}
	r = key ? json_object_object_add(in, key, value) : json_object_array_add(in, value);
	if (r) {
		j->failed = true;
		json_object_put(value);
	}
}

static void begin(struct json *j, const char *key, struct json_object *value)
{
	/* One reference for the parent and one for us: the parent may fail to take it. */
	put(j, key, json_object_get(value));
	j->open[j->depth++] = value;
}

void json_start(struct json *j)
{
	*j = (struct json){.depth = 1};
	j->open[0] = json_object_new_object();
}

void json_begin_object(struct json *j, const char *key)
{
	begin(j, key, json_object_new_object());
}

void json_begin_array(struct json *j, const char *key)
{
	begin(j, key, json_object_new_array());
}

void json_end(struct json *j)
{
	json_object_put(j->open[--j->depth]);
}

void json_u64(struct json *j, const char *key, uint64_t value)
{
	put(j, key, json_object_new_uint64(value));
}

static void put_real(struct json *j, const char *key, double value, int decimals)
{
	char text[64];

	snprintf(text, sizeof(text), "%.*f", decimals, value);
	put(j, key, json_object_new_double_s(value, text));
}

void json_real(struct json *j, const char *key, double value)
{
	put_real(j, key, value, 1);
}

void json_real3(struct json *j, const char *key, double value)
{
	put_real(j, key, value, 3);
}

void json_string(struct json *j, const char *key, const char *value)
{
	put(j, key, json_object_new_string(value));
}

static int finish(struct json *j, FILE *out, int style, const char *ending)
{
	const char *text = NULL;
	int r = 0;

	while (j->depth > 1)
		json_end(j);
	if (!j->failed && j->open[0])
		text = json_object_to_json_string_ext(j->open[0], style);
	if (!text)
		r = -ENOMEM;
	else if (fprintf(out, "%s%s", text, ending) < 0)
		r = -errno;
	json_object_put(j->open[0]);
	return r;
}

int json_finish(struct json *j, FILE *out)
{
	int r = finish(j, out, JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_PRETTY, "\n");

	return !r && fflush(out) ? -errno : r;
}

int json_finish_short(struct json *j, FILE *out)
{
	return finish(j, out, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, "");
}
