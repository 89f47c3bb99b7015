/* SPDX-License-Identifier: BSD-3-Clause */
/* Words into a buffer, of which what does not fit is left out. For signal handlers, too: no stdio, no memory. */
#ifndef MRN_OS_TEXT_H
#define MRN_OS_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct mrn_text {
	char *to; /* always ends with 0 */
	size_t size, used;
};

#define MRN_TEXT(buffer, bytes) ((struct mrn_text){.to = (buffer), .size = (bytes)})

static inline void mrn_text_add(struct mrn_text *text, const char *words)
{
	while (*words && text->used + 1 < text->size)
		text->to[text->used++] = *words++;
	text->to[text->used] = 0;
}

static inline void mrn_text_add_number(struct mrn_text *text, uint64_t value, unsigned int base)
{
	char digits[65];
	size_t at = sizeof(digits) - 1;

	digits[at] = 0;
	do
		digits[--at] = "0123456789abcdef"[value % base];
	while ((value /= base));
	mrn_text_add(text, digits + at);
}

#endif
