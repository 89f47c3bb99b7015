/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <json-c/json.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* The number of bytes of the UTF-8 character at s; 0: not valid. */
static size_t character(const unsigned char *s)
{
	/* The smallest character that needs this many bytes. */
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = *s < 0x80 ? 1 : *s >> 5 == 6 ? 2 : *s >> 4 == 14 ? 3 : *s >> 3 == 30 ? 4 : 0;
	uint32_t c = n > 1 ? *s & 0x7f >> n : 0;

	for (size_t i = 1; i < n; i++) {
		if (s[i] >> 6 != 2)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	return n < 2 || (c >= least[n] && c <= 0x10ffff && c >> 11 != 0x1b) ? n : 0;
}

/* A name may be any bytes, and JSON is UTF-8: replaces each invalid byte with U+FFFD. NULL without memory. */
static char *as_utf8(const char *value)
{
	static const char instead[] = "\xef\xbf\xbd";
	char *text = malloc(strlen(value) * (sizeof(instead) - 1) + 1), *to = text;

	while (text && *value) {
		size_t n = character((const unsigned char *)value);

		to = mempcpy(to, n ? value : instead, n ? n : sizeof(instead) - 1);
		value += n ? n : 1;
	}
	if (text)
		*to = '\0';
	return text;
}

void json_string(struct json *j, const char *key, const char *value)
{
	char *text = as_utf8(value);

	put(j, key, text ? json_object_new_string(text) : NULL);
	free(text);
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
