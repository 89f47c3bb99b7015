/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Findings, out of the logs of all processes, with the places in files that their addresses belong to. They are taken in while
 * the processes run, since code may be unmapped, and its file be replaced, before they end.
 */
#ifndef MRN_CHECK_COLLECT_H
#define MRN_CHECK_COLLECT_H

#include <stdbool.h>
#include <stdint.h>

#include "check/shared/log.h"
#include "watch/tool/sites.h"

/* Frames are indices into sites.site, the innermost first. */
struct collected_stack {
	uint32_t nr;
	uint32_t frame[CHECK_FRAMES];
};

struct collected {
	struct check_finding finding; /* the first one; count: of all that are the same */
	struct collected_stack registered, changed, used, ended;
	bool suppressed, printed;
};

/* So long after the change a finding of that grade waits for the end of the registration. */
#define COLLECT_END_NS INT64_C(1000000000)

struct collection {
	struct sites sites;
	struct collected *item;
	uint32_t nr, max;
	bool no_memory; /* the tool's */
	struct check_counts counts;
	uint32_t ring_shift; /* of the lanes */
	/* Called when there are more. Their counts are added when their process has ended. */
	void (*found)(void *arg);
	void *arg;
};

/* ring_shift: of the lanes; found: as above. 0 or -ENOMEM. */
int collection_create(struct collection *c, uint32_t ring_shift, void (*found)(void *arg),
		      void *arg);
void collection_destroy(struct collection *c);

/* As a sink's look. */
void collection_look(void *collection, uint32_t pid, struct watch_lane *lane, bool last);

#endif
