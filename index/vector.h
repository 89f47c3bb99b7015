/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is done to 32 numbers at once: a few instructions with vectors where the processor has AVX2, a loop elsewhere.
 *
 * What readers look at is written meanwhile, each number by one store, a release. Each number is read once, whole, by
 * what an acquire load is; with vectors eight of them together, in one access.
 */
#ifndef MRN_INDEX_VECTOR_H
#define MRN_INDEX_VECTOR_H

#include <stdbool.h>
#include <stdint.h>

#define MRN_VECTOR 32

/* All arrays are aligned to 64 bytes. A mask has a bit for each number, the lowest for the first. */

/* ---- what readers look at, too */

/* first <= to and last >= from; in no order. */
uint32_t mrn_vector_within(const int16_t *first, const int16_t *last, int16_t from, int16_t to);

/*
 * In ascending order, which the filter's argument rests on: is there one whose high byte is that of x and whose low byte
 * has a bit of x's, or is the last one not 0?
 */
bool mrn_vector_has(const uint16_t *number, uint16_t x);

/* ---- the writer's: nobody else writes */

/* Of ascending numbers: how many are <= x? */
unsigned int mrn_vector_count(const int16_t *number, int16_t x);

/* == x */
uint32_t mrn_vector_equal(const uint16_t *number, uint16_t x);

#endif
