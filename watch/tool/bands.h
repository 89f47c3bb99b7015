/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The parts of the address space that a program uses: a page that shows addresses has room for no others.
 */
#ifndef MRN_WATCH_BANDS_H
#define MRN_WATCH_BANDS_H

#include "watch/tool/tally.h"

struct band {
	uint64_t start, stop;
};

#define BANDS_MAX 24

struct bands {
	struct band band[BANDS_MAX + 1];
	unsigned int nr;
	bool everything; /* the last band is for ranges over everything */
};

/* From all events. 0 or -ENOMEM. */
int bands_find(struct bands *b, const struct event *event, size_t n);
/* The band that the event is in. */
unsigned int bands_of(const struct bands *b, const struct event *e);

#endif
