/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A list notifier: told of every invalidation of an address space, at its start and its end, and of the end of the
 * address space itself.
 */
#include <mrn/mrn.h>
#include <stdio.h>
#include <string.h>

/* No stdio in a callback: it may run inside somebody's free. Note, and print later. */
static struct tally {
	struct mmu_notifier mn;
	unsigned int starts, ends, releases;
	uint64_t bytes;
} tally;

static int on_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct tally *t = (struct tally *)mn;

	t->starts++;
	t->bytes += range->end - range->start;
	return 0;
}

static void on_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	((struct tally *)mn)->ends++;
}

static void on_release(struct mmu_notifier *mn, struct mrn_mm *mm)
{
	((struct tally *)mn)->releases++;
}

static const struct mmu_notifier_ops ops = {
	.release = on_release,
	.invalidate_range_start = on_start,
	.invalidate_range_end = on_end,
};

static int change(struct mrn_mm *mm, uintptr_t start, uintptr_t end)
{
	struct mmu_notifier_range range;
	int r;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mm, start, end);
	r = mmu_notifier_invalidate_range_start(&range);
	if (r)
		return r;
	/* Here the owner of the address space changes its translations. */
	mmu_notifier_invalidate_range_end(&range);
	return 0;
}

int main(void)
{
	struct mrn_mm *mm;
	int r = mrn_mm_create(&mm);

	tally.mn.ops = &ops;
	if (!r)
		r = mmu_notifier_register(&tally.mn, mm);
	if (r || (r = change(mm, 0x1000, 0x5000)) || (r = change(mm, 0x9000, 0xa000))) {
		fprintf(stderr, "list_notifier: %s\n", strerror(-r));
		return 1;
	}
	printf("starts %u, ends %u, bytes %llu\n", tally.starts, tally.ends,
	       (unsigned long long)tally.bytes);

	/* Unregistering calls release, since the mm has not ended. */
	mmu_notifier_unregister(&tally.mn, mm);
	change(mm, 0x1000, 0x2000);
	mrn_mm_destroy(mm);
	printf("after unregister: starts %u, releases %u\n", tally.starts, tally.releases);
	return !(tally.starts == 2 && tally.ends == 2 && tally.bytes == 0x5000 &&
		 tally.releases == 1);
}
