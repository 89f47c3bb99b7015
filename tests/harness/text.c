/* SPDX-License-Identifier: BSD-3-Clause */
/* Bounded text: a test that prints without end must not kill the runner. */
#include "tests/harness/internal.h"

#include <string.h>

static void drop_front(struct test_text *text, size_t n)
{
	memmove(text->data, text->data + n, text->len - n);
	text->len -= n;
	text->cut = true;
}

void test_text_add(struct test_text *text, const char *data, size_t len)
{
	if (len > sizeof(text->data)) {
		data += len - sizeof(text->data);
		len = sizeof(text->data);
	}
	if (len > sizeof(text->data) - text->len) {
		size_t need = len - (sizeof(text->data) - text->len);
		size_t half = text->len / 2;

		/* By halves, so that a long stream of short writes is not all memmove. */
		drop_front(text, need > half ? need : half);
	}
	memcpy(text->data + text->len, data, len);
	text->len += len;
}

void test_text_lines(const struct test_text *text, void (*emit)(const char *line, void *arg),
		     void *arg)
{
	const char *p = text->data;
	const char *end = text->data + text->len;
	char line[TEST_RECORD_MAX + 1];

	if (text->cut)
		emit("[...]", arg);
	while (p < end) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		size_t len = (size_t)((newline ? newline : end) - p);
		size_t take = len < sizeof(line) ? len : sizeof(line) - 1;

		memcpy(line, p, take);
		line[take] = '\0';
		emit(line, arg);
		/* An overlong line comes in pieces. */
		p += take == len && newline ? len + 1 : take;
	}
}
