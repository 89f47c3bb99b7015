/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn-coverage SOURCE CAUSE: makes one cause happen, and says how the source has announced it. A process of its own for
 * each: what a source catches, and what stands in front of libc, is a matter of the whole process. The
 * program is not linked to the interposer; who wants that preloads it.
 */
#ifndef COVERAGE_PROBE_PROBE_H
#define COVERAGE_PROBE_PROBE_H

#include <mrn/source.h>

#include "coverage/cause/cause.h"
#include "coverage/probe/verdict.h"

struct probe {
	struct mrn_source *source;
	uint64_t need; /* what is asked of the source for a range */
	const struct cause *cause;
	bool has_device; /* pins can be taken */
	enum verdict verdict;
	char why[256];
};

/* Sets the verdict, with its reason. */
__attribute__((format(printf, 3, 4))) void probe_conclude(struct probe *p, enum verdict verdict,
							  const char *format, ...);

/* announce.c: what a notifier is told, with nobody else about. */
void probe_announcement(struct probe *p);

/* replaced.c: the same of a cause after which this program runs no more; and what the next one makes of it. */
void probe_replaced(struct probe *p);
void probe_judge_replaced(struct probe *p, const char *number);
#define PROBE_AFTER "after"

/*
 * cached.c: through a registration cache, with real pins, and a second thread that registers all the time
 * meanwhile: is anything stale afterwards? Then the cause is missed, whatever was announced.
 */
void probe_cached(struct probe *p);

#endif
