/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An invalidation that must not wait: the callback would have to, so it refuses, and the whole start is undone. The
 * caller does without, or tries again later.
 */
#include <errno.h>
#include <mrn/mrn.h>
#include <stdio.h>

static pthread_mutex_t driver_lock = PTHREAD_MUTEX_INITIALIZER;
static bool mapped = true;
static unsigned int told, ended;

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	if (mmu_notifier_range_blockable(range))
		pthread_mutex_lock(&driver_lock);
	else if (pthread_mutex_trylock(&driver_lock))
		return false; /* with nothing changed, not even the seq */
	mmu_range_notifier_update_seq(mrn, cur_seq);
	mapped = false;
	pthread_mutex_unlock(&driver_lock);
	return true;
}

static int on_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	told++;
	return 0;
}

static void on_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	ended++;
}

static const struct mmu_range_notifier_ops range_ops = {.invalidate = invalidate};
static const struct mmu_notifier_ops list_ops = {
	.invalidate_range_start = on_start,
	.invalidate_range_end = on_end,
};

int main(void)
{
	struct mmu_range_notifier mrn = {.ops = &range_ops};
	struct mmu_notifier mn = {.ops = &list_ops};
	struct mmu_notifier_range range;
	struct mrn_mm *mm;
	int refused, done;

	if (mrn_mm_create(&mm) || mmu_range_notifier_insert(&mrn, 0x10000, 0x4000, mm) ||
	    mmu_notifier_register(&mn, mm))
		return 1;
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, 0x10000, 0x11000);

	/* The driver is busy. After -EAGAIN there is no end to call. */
	pthread_mutex_lock(&driver_lock);
	refused = mmu_notifier_invalidate_range_start_nonblock(&range);
	pthread_mutex_unlock(&driver_lock);
	printf("driver busy: %s, told %u, ended %u\n", refused == -EAGAIN ? "-EAGAIN" : "?", told,
	       ended);

	done = mmu_notifier_invalidate_range_start_nonblock(&range);
	if (!done)
		mmu_notifier_invalidate_range_end(&range);
	printf("driver idle: %d, told %u, ended %u\n", done, told, ended);

	mmu_notifier_unregister(&mn, mm);
	mmu_range_notifier_remove(&mrn);
	mrn_mm_destroy(mm);
	return !(refused == -EAGAIN && done == 0 && !mapped && told == ended);
}
