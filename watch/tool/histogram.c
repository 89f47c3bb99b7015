/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/tool/histogram.h"

/* Values below two times the steps have a bucket each. */
static unsigned int bucket_of(uint64_t value)
{
	unsigned int shift;

	if (value < 2 * HISTOGRAM_STEPS)
		return (unsigned int)value;
	/* Keeps the highest five bits: 16 to 31. */
	shift = 59 - (unsigned int)__builtin_clzll(value);
	return shift * HISTOGRAM_STEPS + (unsigned int)(value >> shift);
}

static uint64_t middle_of(unsigned int bucket)
{
	unsigned int shift = bucket / HISTOGRAM_STEPS - 1;

	if (bucket < 2 * HISTOGRAM_STEPS)
		return bucket;
	return ((uint64_t)(bucket - shift * HISTOGRAM_STEPS) << shift) + (UINT64_C(1) << shift) / 2;
}

void histogram_add(struct histogram *h, uint64_t value)
{
	h->n++;
	h->bucket[bucket_of(value)]++;
}

uint64_t histogram_percentile(const struct histogram *h, unsigned int percent)
{
	uint64_t rank = (h->n * percent + 99) / 100, seen = 0;

	for (unsigned int i = 0; i < HISTOGRAM_SIZE; i++) {
		seen += h->bucket[i];
		if (seen && seen >= rank)
			return middle_of(i);
	}
	return 0;
}
