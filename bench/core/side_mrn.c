/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Our side, by its public functions alone.
 */
#include <mrn/mmu_notifier.h>

#include "bench/core/side.h"

/* As a driver embeds a notifier. */
struct shadow {
	struct mmu_range_notifier mrn;
} __attribute__((aligned(64)));

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	mmu_range_notifier_update_seq(mrn, cur_seq);
	return true;
}

static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};

static struct shadow *shadows(const struct side *s)
{
	return s->notifier;
}

static int side_open_mrn(struct side *s)
{
	struct mrn_mm *mm;
	int err = mrn_mm_create(&mm);

	if (err)
		return err;
	s->mm = mm;
	for (size_t i = 0; i < s->n; i++)
		shadows(s)[i].mrn.ops = &ops;
	return 0;
}

static void side_close_mrn(struct side *s)
{
	mrn_mm_destroy(s->mm);
}

static int insert(struct side *s, const struct job *job, size_t nr)
{
	struct shadow *shadow = shadows(s);
	int err = 0;

	for (size_t i = 0; i < nr && !err; i++)
		err = mmu_range_notifier_insert(&shadow[job[i].index].mrn, job[i].span.start,
						job[i].span.end - job[i].span.start, s->mm);
	return err;
}

static int remove_them(struct side *s, const struct job *job, size_t nr)
{
	struct shadow *shadow = shadows(s);
	int err = 0;

	for (size_t i = 0; i < nr && !err; i++)
		err = mmu_range_notifier_remove(&shadow[job[i].index].mrn);
	return err;
}

static int announce(struct side *s, const struct span *query, size_t nr)
{
	int err = 0;

	for (size_t i = 0; i < nr && !err; i++) {
		struct mmu_notifier_range range;

		mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, s->mm, query[i].start,
					query[i].end);
		err = mmu_notifier_invalidate_range_start(&range);
		if (!err)
			mmu_notifier_invalidate_range_end(&range);
	}
	return err;
}

static size_t read_them(struct side *s, const uint32_t *index, size_t nr)
{
	struct shadow *shadow = shadows(s);
	size_t collisions = 0;

	for (size_t i = 0; i < nr; i++) {
		struct mmu_range_notifier *mrn = &shadow[index[i]].mrn;

		collisions += mmu_range_read_retry(mrn, mmu_range_read_begin(mrn));
	}
	return collisions;
}

const struct side_ops side_mrn = {
	.name = "mrn",
	.size = sizeof(struct shadow),
	.open = side_open_mrn,
	.close = side_close_mrn,
	.insert = insert,
	.remove = remove_them,
	.announce = announce,
	.read = read_them,
};
