/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random numbers from a seed: the same ones in every run.
 */
#ifndef MRN_OS_RANDOM_H
#define MRN_OS_RANDOM_H

#include <stdint.h>

/* Steele, Lea and Flood's splitmix64: any seed will do. */
static inline uint64_t mrn_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* From 0 to limit - 1; limit is not 0. */
static inline uint64_t mrn_random_below(uint64_t *state, uint64_t limit)
{
	return (uint64_t)(((unsigned __int128)mrn_random(state) * limit) >> 64);
}

#endif
