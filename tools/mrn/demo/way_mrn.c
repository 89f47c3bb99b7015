/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn: a registration is kept for the next transfer, and never used once the memory has changed. Overlapping entries
 * are merged, so that the registration of one buffer may include pages of the next one, which another thread may be
 * changing at that moment.
 */
#include <mrn/io_uring.h>

#include "tools/mrn/demo/demo.h"

static int mrn_way_open(struct io_uring *ring, struct mrn_source *source, void **state)
{
	char why[256] = "";
	struct mrn_uring_opts opts = {
		.size = sizeof(opts),
		.source = source,
		.slots = DEMO_SLOTS,
		.flags = MRN_REGCACHE_MERGE,
		.why = why,
		.why_size = sizeof(why),
	};
	struct mrn_uring *u;
	int r = mrn_uring_create(ring, &opts, &u);

	if (r)
		return r;
	*state = u;
	return 0;
}

static int mrn_way_get(void *state, const struct demo_buffer *b, char *addr, size_t length,
		       unsigned int access, struct demo_loan *loan)
{
	struct mrn_uring_buf *buf;
	int r = mrn_uring_get(state, addr, length, access, &buf);

	if (r)
		return r;
	loan->index = mrn_uring_buf_index(buf);
	loan->held = buf;
	return 0;
}

static void mrn_way_put(void *state, struct demo_loan *loan)
{
	mrn_uring_put(loan->held);
}

static void mrn_way_add_figures(void *state, struct demo_figures *figures)
{
	struct mrn_regcache_stats stats;

	if (mrn_uring_get_stats(state, &stats, sizeof(stats)))
		return;
	figures->registrations += stats.registrations;
	figures->hits += stats.hits;
	figures->retries += stats.retries;
	figures->invalidations += stats.invalidations;
}

static void mrn_way_close(void *state)
{
	mrn_uring_destroy(state);
}

const struct demo_way demo_mrn = {
	.name = "mrn",
	.open = mrn_way_open,
	.get = mrn_way_get,
	.put = mrn_way_put,
	.add_figures = mrn_way_add_figures,
	.close = mrn_way_close,
};
