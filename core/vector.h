/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is done to 32 numbers at once: a few instructions with vectors of 256 bits, a loop elsewhere.
 *
 * They may be written meanwhile, each by one store. A vector is read in pieces no smaller than the numbers in it,
 * in order of loads: of each number one value is seen, none older than what an acquire load would have seen.
 */
#ifndef MRN_CORE_VECTOR_H
#define MRN_CORE_VECTOR_H

#include <stdint.h>

#define MRN_VECTOR 32

/* All arrays are aligned to 64 bytes. A mask has a bit for each number, the lowest for the first. */

/* first <= to and last >= from */
uint32_t mrn_vector_within(const int16_t *first, const int16_t *last, int16_t from, int16_t to);

/* Of ascending numbers: how many are <= x? */
unsigned int mrn_vector_count(const int16_t *number, int16_t x);

/* == x */
uint32_t mrn_vector_equal(const uint16_t *number, uint16_t x);

/* Is there one whose high byte is that of x, and whose low byte has a bit of x's? */
int mrn_vector_has(const uint16_t *number, uint16_t x);

#endif
