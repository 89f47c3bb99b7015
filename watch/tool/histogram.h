/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Durations, counted in buckets whose width is a sixteenth of their value: percentiles are exact to 6 %.
 */
#ifndef MRN_WATCH_HISTOGRAM_H
#define MRN_WATCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 16 /* per doubling */
#define HISTOGRAM_SIZE	(61 * HISTOGRAM_STEPS)

struct histogram {
	uint64_t n, bucket[HISTOGRAM_SIZE];
};

void histogram_add(struct histogram *h, uint64_t value);
/* The value that percent of all do not exceed: the middle of its bucket; 0 if there are none. */
uint64_t histogram_percentile(const struct histogram *h, unsigned int percent);

#endif
