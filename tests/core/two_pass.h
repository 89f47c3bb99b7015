/* SPDX-License-Identifier: BSD-3-Clause */
/* A device that goes on using its shadow until it has been waited for. */
#ifndef TESTS_CORE_TWO_PASS_H
#define TESTS_CORE_TWO_PASS_H

#include "tests/core/fixture.h"

struct device {
	struct mmu_range_notifier mrn;
	struct mmu_range_notifier_finish finish;
	pthread_mutex_t lock;
	/* Under lock. */
	bool in_use; /* finish */
	bool shadow;
	unsigned int starts, alone,
		finishes; /* alone: both passes in one, since finish was in use */
	unsigned int started_at, finished_at; /* moments; the last time */

	bool refuse; /* when it may not wait */
	/* When set: called in the first pass, before the lock is taken; in the finish before and after finish is taken back. */
	void (*in_start)(struct device *d, const struct mmu_notifier_range *range);
	void (*in_finish)(struct device *d);
	void (*taken_back)(struct device *d);
	void *arg;
};

/* A twin's: hands finish out although it is in use. */
static bool keep_no_flag __attribute__((unused));

/* A number for the order in which things happen. */
HELPER unsigned int next_moment(void)
{
	static unsigned int moment;

	return ADD(&moment, 1);
}

HELPER bool device_start(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			 uint64_t cur_seq, struct mmu_range_notifier_finish **finish)
{
	struct device *d = container_of(mrn, struct device, mrn);

	CHECK(!*finish);
	if (LOAD(&d->refuse) && !mmu_notifier_range_blockable(range))
		return false;
	if (d->in_start)
		d->in_start(d, range);
	errno = EIO;
	pthread_mutex_lock(&d->lock);
	mmu_range_notifier_update_seq(mrn, cur_seq);
	d->starts++;
	d->started_at = next_moment();
	if (d->in_use && !keep_no_flag) {
		d->alone++;
		d->shadow = false;
	} else {
		d->in_use = true;
		*finish = &d->finish;
	}
	pthread_mutex_unlock(&d->lock);
	return true;
}

HELPER void device_finish(struct mmu_range_notifier_finish *finish)
{
	struct device *d = container_of(finish, struct device, finish);

	CHECK(finish->notifier == &d->mrn);
	CHECK(mrn_callback_depth > 0);
	if (d->in_finish)
		d->in_finish(d);
	errno = EIO;
	pthread_mutex_lock(&d->lock);
	CHECK(d->in_use);
	d->in_use = false;
	d->shadow = false;
	d->finishes++;
	d->finished_at = next_moment();
	pthread_mutex_unlock(&d->lock);
	if (d->taken_back)
		d->taken_back(d);
}

HELPER void device_init(struct device *d)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate_start = device_start,
							  .invalidate_finish = device_finish};

	memset(d, 0, sizeof(*d));
	memset(&d->finish, 0xa5, sizeof(d->finish));
	pthread_mutex_init(&d->lock, NULL);
	d->mrn.ops = &ops;
	d->mrn.driver_lock = &d->lock;
}

HELPER void device_insert(struct device *d, struct mrn_mm *mm, unsigned int from, unsigned int to)
{
	CHECK_EQ(mmu_range_notifier_insert(&d->mrn, PAGE(from), PAGE(to) - PAGE(from), mm), 0);
}

HELPER void device_remove(struct device *d)
{
	CHECK_EQ(mmu_range_notifier_remove(&d->mrn), 0);
}

/* One try; true if it has a shadow now. */
HELPER bool device_try(struct device *d)
{
	uint64_t seq = mmu_range_read_begin(&d->mrn);
	bool good;

	pthread_mutex_lock(&d->lock);
	good = !mmu_range_read_retry(&d->mrn, seq);
	if (good)
		d->shadow = true;
	pthread_mutex_unlock(&d->lock);
	return good;
}

/* Nothing overlaps. */
HELPER void device_publish(struct device *d)
{
	CHECK(device_try(d));
}

HELPER bool device_has_shadow(struct device *d)
{
	bool has;

	pthread_mutex_lock(&d->lock);
	has = d->shadow;
	pthread_mutex_unlock(&d->lock);
	return has;
}

#endif
