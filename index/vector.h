/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operations on 32 numbers at once: a few vector instructions if the processor has AVX2, otherwise a loop.
 *
 * A writer may write the numbers that readers read, each by one release store. Each number is read once, whole, by an
 * acquire load; with vectors eight together, in one access.
 */
#ifndef MRN_INDEX_VECTOR_H
#define MRN_INDEX_VECTOR_H

#include <stdbool.h>
#include <stdint.h>

#define MRN_VECTOR 32

/* All arrays are aligned to 64 bytes. A mask has a bit for each number, the lowest for the first. */

/* ---- for readers, too */

/* first <= to and last >= from; in no order. */
uint32_t mrn_vector_within(const int16_t *first, const int16_t *last, int16_t from, int16_t to);

/*
 * True if some number has the high byte of x and a bit of x's low byte, or if the last one is not 0. Reads in ascending
 * order, on which the filter's argument relies.
 */
bool mrn_vector_has(const uint16_t *number, uint16_t x);

/* ---- for the writer */

/* How many of the ascending numbers are <= x. */
unsigned int mrn_vector_count(const int16_t *number, int16_t x);

/* == x */
uint32_t mrn_vector_equal(const uint16_t *number, uint16_t x);

#endif
