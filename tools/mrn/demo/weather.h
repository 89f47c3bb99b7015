/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Weather: what happens to a program's memory while it runs. Each change puts other pages under a buffer, most of the
 * time at the same address.
 */
#ifndef MRN_DEMO_WEATHER_H
#define MRN_DEMO_WEATHER_H

#include <stdint.h>

#include "tools/mrn/demo/memory.h"

/* Makes one change of b. Hold its lock exclusively; b gets the next generation's pattern. */
void weather_change(const struct memory *m, struct demo_buffer *b, uint64_t *random);

#endif
