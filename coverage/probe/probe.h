/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn-coverage SOURCE CAUSE: makes one cause happen, and says how the source announces it. Each in a process of its
 * own: what a source catches, and what interposes libc, concerns the whole process. The program is not linked to the
 * interposer; preload it if needed.
 */
#ifndef COVERAGE_PROBE_PROBE_H
#define COVERAGE_PROBE_PROBE_H

#include <mrn/source.h>

#include "coverage/cause/cause.h"
#include "coverage/probe/verdict.h"

struct probe {
	struct mrn_source *source;
	uint64_t need; /* what to ask of the source for a range */
	const struct cause *cause;
	bool has_device; /* pins can be taken */
	enum verdict verdict;
	char why[256];
};

/* Sets the verdict, with its reason. */
__attribute__((format(printf, 3, 4))) void probe_conclude(struct probe *p, enum verdict verdict,
							  const char *format, ...);

/* announce.c: what a notifier is told, without other threads. */
void probe_announcement(struct probe *p);

/* replaced.c: the same for a cause that ends this program; and the verdict, by the next program. */
void probe_replaced(struct probe *p);
void probe_judge_replaced(struct probe *p, const char *number);
#define PROBE_AFTER "after"

/*
 * cached.c: through a registration cache, with real pins, while a second thread registers all the time. If anything is
 * stale afterwards, the cause is missed, whatever was announced.
 */
void probe_cached(struct probe *p);

#endif
