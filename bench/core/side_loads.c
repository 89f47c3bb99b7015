/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A lower bound: the loads that an invalidation needs to meet one notifier of many, one after the other. First a place
 * in an index, which names the notifier, then the notifier. Nothing else is done.
 */
#include <errno.h>
#include <string.h>

#include "bench/core/side.h"
#include "bench/memory.h"

/* All zero, but the compiler does not know. */
struct notifier {
	uint64_t next;
} __attribute__((aligned(128)));

/* Thirty-two bytes of index for each notifier. */
struct place {
	uint64_t who;
} __attribute__((aligned(64)));

static size_t places(const struct side *s)
{
	return s->n / 2 + 1;
}

static int open_loads(struct side *s)
{
	s->mm = bench_alloc(places(s) * sizeof(struct place));
	if (!s->mm)
		return -ENOMEM;
	/* Pages that were never written are all one page. */
	memset(s->mm, 0, places(s) * sizeof(struct place));
	memset(s->notifier, 0, s->n * sizeof(struct notifier));
	return 0;
}

static void close_loads(struct side *s)
{
	bench_free(s->mm, places(s) * sizeof(struct place));
}

/* One of n, however x is distributed. */
static size_t one_of(size_t n, uint64_t x)
{
	return (size_t)(((x * UINT64_C(0x9e3779b97f4a7c15)) >> 32) * n >> 32);
}

static int announce(struct side *s, const struct span *query, size_t nr)
{
	const struct place *place = s->mm;
	const struct notifier *notifier = s->notifier;
	uint64_t next = 0;

	for (size_t i = 0; i < nr; i++) {
		uint64_t who = place[one_of(places(s), query[i].start + next)].who;

		next = notifier[one_of(s->n, query[i].start + 1 + who)].next;
	}
	return next ? -EINVAL : 0;
}

const struct side_ops side_loads = {
	.name = "two-loads",
	.size = sizeof(struct notifier),
	.open = open_loads,
	.close = close_loads,
	.announce = announce,
};
