/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdlib.h>
#include <string.h>

#include "watch/tool/tally.h"
#include "os/clock.h"

int tally_create(struct tally *t, bool keep)
{
	*t = (struct tally){.keep = keep};
	return sites_create(&t->sites);
}

void tally_destroy(struct tally *t)
{
	sites_destroy(&t->sites);
	free(t->by_site);
	free(t->event);
}

uint64_t tally_bytes(uint64_t start, uint64_t stop)
{
	return stop - start < WATCH_EVERYTHING ? stop - start : 0;
}

static bool grow_sites(struct tally *t)
{
	uint32_t max = t->sites.max;
	void *more;

	if (t->sites.nr <= t->nr_by_site)
		return true;
	more = realloc(t->by_site, max * sizeof(*t->by_site));
	if (!more)
		return false;
	t->by_site = more;
	memset(t->by_site + t->nr_by_site, 0, (max - t->nr_by_site) * sizeof(*t->by_site));
	t->nr_by_site = max;
	return true;
}

static bool grow_events(struct tally *t)
{
	size_t max = t->max ? 2 * t->max : 4096;
	struct event *more;

	if (t->nr < t->max)
		return true;
	more = realloc(t->event, max * sizeof(*more));
	if (!more)
		return false;
	t->event = more;
	t->max = max;
	return true;
}

/*
 * When it ended, since the beginning. In a time namespace of its own a process has another clock, and in a sandbox it
 * may have none: then the time of reading counts, which is soon after.
 */
static uint64_t end_of(const struct tally *t, const struct watch_record *r)
{
	uint64_t now = mrn_now_ns();

	return (r->begin < t->epoch || r->end > now ? now : r->end) - t->epoch;
}

void tally_add(struct tally *t, const struct watch_record *r, const struct watch_lane *lane)
{
	unsigned int cause = r->cause < MRN_NR_CAUSES ? r->cause : MRN_CAUSE_UNKNOWN;
	uint64_t bytes = tally_bytes(r->start, r->stop);
	uint64_t length = r->end - r->begin, end;
	uint32_t site = sites_find(&t->sites, r, lane);

	t->events++;
	t->bytes += bytes;
	t->cause[cause].events++;
	t->cause[cause].bytes += bytes;
	histogram_add(&t->cause[cause].ns, length);
	if (!grow_sites(t) || (t->keep && !grow_events(t))) {
		t->lost++;
		return;
	}
	t->by_site[site][cause].events++;
	t->by_site[site][cause].bytes += bytes;
	if (!t->keep)
		return;
	end = end_of(t, r);
	t->event[t->nr++] = (struct event){
		.begin = end - (length < end ? length : end),
		.end = end,
		.start = r->start,
		.stop = r->stop,
		.pid = r->pid,
		.tid = r->tid,
		.site = site,
		.flags = r->flags,
		.event = r->event,
		.cause = (uint8_t)cause,
	};
}
