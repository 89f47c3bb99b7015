/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rival: the kernel's design, as in bench/baseline/.
 */
#include <errno.h>

#include "bench/baseline/notifier.h"
#include "bench/core/side.h"
#include "bench/memory.h"

/* As a driver embeds a notifier. */
struct shadow {
	struct baseline_notifier n;
} __attribute__((aligned(64)));

static bool invalidate(struct baseline_notifier *n, const struct baseline_range *range,
		       uint64_t cur_seq)
{
	baseline_update_seq(n, cur_seq);
	return true;
}

static const struct baseline_ops ops = {.invalidate = invalidate};

static struct shadow *shadows(const struct side *s)
{
	return s->notifier;
}

static int side_open_upstream(struct side *s)
{
	struct baseline_mm *mm = bench_alloc(sizeof(*mm));

	if (!mm)
		return -ENOMEM;
	baseline_mm_init(mm);
	s->mm = mm;
	for (size_t i = 0; i < s->n; i++)
		shadows(s)[i].n.ops = &ops;
	return 0;
}

static void side_close_upstream(struct side *s)
{
	baseline_mm_destroy(s->mm);
	bench_free(s->mm, sizeof(struct baseline_mm));
}

static int insert(struct side *s, const struct job *job, size_t nr)
{
	struct shadow *shadow = shadows(s);
	int err = 0;

	for (size_t i = 0; i < nr && !err; i++)
		err = baseline_insert(&shadow[job[i].index].n, job[i].span.start,
				      job[i].span.end - job[i].span.start, s->mm);
	return err;
}

static int remove_them(struct side *s, const struct job *job, size_t nr)
{
	struct shadow *shadow = shadows(s);

	for (size_t i = 0; i < nr; i++)
		baseline_remove(&shadow[job[i].index].n);
	return 0;
}

static int announce(struct side *s, const struct span *query, size_t nr)
{
	int err = 0;

	for (size_t i = 0; i < nr && !err; i++) {
		struct baseline_range range = {
			.mm = s->mm,
			.start = query[i].start,
			.end = query[i].end,
			.blockable = true,
		};

		err = baseline_start(&range);
		if (!err)
			baseline_end(&range);
	}
	return err;
}

static size_t read_them(struct side *s, const uint32_t *index, size_t nr)
{
	struct shadow *shadow = shadows(s);
	size_t collisions = 0;

	for (size_t i = 0; i < nr; i++) {
		struct baseline_notifier *n = &shadow[index[i]].n;

		collisions += baseline_read_retry(n, baseline_read_begin(n));
	}
	return collisions;
}

const struct side_ops side_upstream = {
	.name = "upstream-design",
	.size = sizeof(struct shadow),
	.open = side_open_upstream,
	.close = side_close_upstream,
	.insert = insert,
	.remove = remove_them,
	.announce = announce,
	.read = read_them,
};
