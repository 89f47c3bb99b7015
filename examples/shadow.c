/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A consumer: a shadow of one page's translation, kept valid by begin and retry. The main thread owns the address
 * space, and announces its changes.
 */
#include <mrn/mrn.h>
#include <stdio.h>

#define PAGE ((uintptr_t)0x10000)

static uint64_t frame = 1; /* the translation: the frame of the page */

static struct device {
	struct mmu_range_notifier mrn;
	pthread_mutex_t lock; /* the driver lock */
	uint64_t shadow;      /* the frame that the device uses; 0: none */
	uint64_t published, collided, stale, stop;
} dev = {.lock = PTHREAD_MUTEX_INITIALIZER, .mrn.driver_lock = &dev.lock};

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	if (mmu_notifier_range_blockable(range))
		pthread_mutex_lock(&dev.lock);
	else if (pthread_mutex_trylock(&dev.lock))
		return false; /* the caller of start may not wait */
	mmu_range_notifier_update_seq(mrn, cur_seq);
	dev.shadow = 0;
	pthread_mutex_unlock(&dev.lock);
	return true;
}

static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};

static void *use(void *arg)
{
	while (!__atomic_load_n(&dev.stop, __ATOMIC_RELAXED)) {
		uint64_t seq = mmu_range_read_begin(&dev.mrn);
		uint64_t seen = __atomic_load_n(&frame, __ATOMIC_RELAXED); /* speculative */

		pthread_mutex_lock(&dev.lock);
		if (mmu_range_read_retry(&dev.mrn, seq)) {
			dev.collided++;
		} else {
			dev.shadow = seen;
			__atomic_store_n(&dev.published, dev.published + 1, __ATOMIC_RELAXED);
			/* The protocol's promise: under the lock a shadow is never stale. */
			dev.stale += dev.shadow != __atomic_load_n(&frame, __ATOMIC_RELAXED);
		}
		pthread_mutex_unlock(&dev.lock);
	}
	return arg;
}

int main(void)
{
	struct mmu_notifier_range range;
	struct mrn_mm *mm;
	pthread_t user;

	dev.mrn.ops = &ops;
	if (mrn_mm_create(&mm) || mmu_range_notifier_insert(&dev.mrn, PAGE, 4096, mm) ||
	    pthread_create(&user, NULL, use, NULL))
		return 1;
	while (frame < 20000 || __atomic_load_n(&dev.published, __ATOMIC_RELAXED) < 20000) {
		mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, PAGE, PAGE + 4096);
		if (mmu_notifier_invalidate_range_start(&range))
			return 1;
		__atomic_store_n(&frame, frame + 1, __ATOMIC_RELAXED);
		mmu_notifier_invalidate_range_end(&range);
	}
	__atomic_store_n(&dev.stop, 1, __ATOMIC_RELAXED);
	pthread_join(user, NULL);
	mmu_range_notifier_remove(&dev.mrn);
	mrn_mm_destroy(mm);
	printf("changes %ju, published %ju, collided %ju, stale %ju\n", (uintmax_t)frame - 1,
	       (uintmax_t)dev.published, (uintmax_t)dev.collided, (uintmax_t)dev.stale);
	return dev.stale != 0;
}
