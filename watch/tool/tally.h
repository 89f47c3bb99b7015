/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the log has said: counts by cause and by call site, and every event if a trace or a page needs them.
 */
#ifndef MRN_WATCH_TALLY_H
#define MRN_WATCH_TALLY_H

#include <mrn/mmu_notifier.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "watch/tool/histogram.h"
#include "watch/tool/sites.h"

struct event {
	uint64_t begin, end; /* ns since the program's start */
	uint64_t start, stop;
	uint32_t pid, tid, site;
	uint16_t flags;
	uint8_t event, cause;
};

struct cause_tally {
	uint64_t events, bytes;
	struct histogram ns;
};

/* One cause at one call site. */
struct site_tally {
	uint64_t events, bytes;
};

struct tally {
	uint64_t epoch; /* CLOCK_MONOTONIC when the program was started */
	uint64_t events, bytes;
	struct cause_tally cause[MRN_NR_CAUSES];
	struct sites sites;
	struct site_tally (*by_site)[MRN_NR_CAUSES]; /* sites.nr of them */
	uint32_t nr_by_site;
	bool keep; /* keeps the events, too */
	struct event *event;
	size_t nr, max;
	uint64_t lost; /* for want of memory in the tool */
};

/* 0 or -ENOMEM. */
int tally_create(struct tally *t, bool keep);
void tally_destroy(struct tally *t);

void tally_add(struct tally *t, const struct watch_record *record, const struct watch_lane *lane);

/* The size of a range. A range over everything stands for an unknown one, and has none. */
uint64_t tally_bytes(uint64_t start, uint64_t stop);

#endif
