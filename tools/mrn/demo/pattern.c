/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>

#include "tools/mrn/demo/pattern.h"

#define WORD sizeof(uint64_t)

/* Bits 63..48 buffer, 47..24 generation, 23..0 the word's number. */
static uint64_t word(struct pattern p, size_t number)
{
	return (uint64_t)p.buffer << 48 | (uint64_t)(p.generation & 0xffffff) << 24 |
	       (number & 0xffffff);
}

void pattern_write(struct pattern p, size_t offset, char *to, size_t length)
{
	while (length) {
		size_t in = offset % WORD, n = WORD - in < length ? WORD - in : length;
		uint64_t w = word(p, offset / WORD);

		memcpy(to, (const char *)&w + in, n);
		to += n;
		offset += n;
		length -= n;
	}
}

bool pattern_matches(struct pattern p, size_t offset, const char *bytes, size_t length)
{
	char expected[4096];

	while (length) {
		size_t n = length < sizeof(expected) ? length : sizeof(expected);

		pattern_write(p, offset, expected, n);
		if (memcmp(expected, bytes, n))
			return false;
		bytes += n;
		offset += n;
		length -= n;
	}
	return true;
}

void pattern_spoil(char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		bytes[i] = (char)~bytes[i];
}
