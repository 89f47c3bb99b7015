/* SPDX-License-Identifier: BSD-3-Clause */
/* Sentences and numbers without stdio, which the event path forbids. */
#ifndef MRN_WATCH_TEXT_H
#define MRN_WATCH_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct watch_text {
	char *text;
	size_t size, used;
};

/* Cuts off what does not fit. */
static inline void watch_text_add(struct watch_text *w, const char *more)
{
	while (*more && w->used + 1 < w->size)
		w->text[w->used++] = *more++;
	w->text[w->used] = '\0';
}

static inline void watch_text_add_number(struct watch_text *w, uint64_t n)
{
	char digits[24], *at = digits + sizeof(digits) - 1;

	*at = '\0';
	do
		*--at = (char)('0' + n % 10);
	while (n /= 10);
	watch_text_add(w, at);
}

/* The number at the beginning of text. */
static inline uint64_t watch_text_number(const char *text)
{
	uint64_t n = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		n = n * 10 + (uint64_t)(*text - '0');
	return n;
}

#endif
