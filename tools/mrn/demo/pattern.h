/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A buffer's contents: 64-bit words that name the buffer, its generation and the place, so that a byte of another
 * buffer, time or place shows.
 */
#ifndef MRN_DEMO_PATTERN_H
#define MRN_DEMO_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pattern {
	uint16_t buffer;
	uint32_t generation; /* its lowest 24 bits count */
};

/* Writes the bytes [offset, offset + length) of the pattern into to. */
void pattern_write(struct pattern p, size_t offset, char *to, size_t length);
/* True if these are the bytes [offset, offset + length) of the pattern. */
bool pattern_matches(struct pattern p, size_t offset, const char *bytes, size_t length);
/* Makes every byte differ from what it was. */
void pattern_spoil(char *bytes, size_t length);

#endif
