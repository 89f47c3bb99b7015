/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices that take a while to stop using a range: one invalidation of all of them in two passes, beside one pass each,
 * and beside one device alone.
 */
#include "bench/core/passes.h"

#include <mrn/mmu_notifier.h>
#include <stdbool.h>
#include <stdint.h>

#include "os/clock.h"
#include "os/container_of.h"

#define RANGE 0x10000u

enum { DEVICES = 4, STOPS_NS = 100000, TIMES = 50, QUICK_TIMES = 5 };

struct device {
	struct mmu_range_notifier mrn;
	struct mmu_range_notifier_finish finish;
	uint64_t stopped_at;
};

/* All those of one contender, in an mm of their own. */
struct set {
	struct mrn_mm *mm;
	unsigned int devices, times;
	struct device device[DEVICES];
};

static void stop(struct device *d, uint64_t cur_seq)
{
	mmu_range_notifier_update_seq(&d->mrn, cur_seq);
	d->stopped_at = mrn_now_ns() + STOPS_NS;
}

/* As a driver that polls the device's register. */
static void wait_until_stopped(const struct device *d)
{
	while (mrn_now_ns() < d->stopped_at)
		;
}

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	struct device *d = container_of(mrn, struct device, mrn);

	(void)range;
	stop(d, cur_seq);
	wait_until_stopped(d);
	return true;
}

static bool invalidate_start(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			     uint64_t cur_seq, struct mmu_range_notifier_finish **finish)
{
	struct device *d = container_of(mrn, struct device, mrn);

	(void)range;
	stop(d, cur_seq);
	/* Never in use: each set has one thread. */
	*finish = &d->finish;
	return true;
}

static void invalidate_finish(struct mmu_range_notifier_finish *finish)
{
	wait_until_stopped(container_of(finish, struct device, finish));
}

static const struct mmu_range_notifier_ops one_pass = {.invalidate = invalidate},
					   two_passes = {.invalidate_start = invalidate_start,
							 .invalidate_finish = invalidate_finish};

static void set_close(struct set *s)
{
	for (unsigned int i = 0; i < s->devices; i++)
		mmu_range_notifier_remove(&s->device[i].mrn);
	if (s->mm)
		mrn_mm_destroy(s->mm);
}

static int set_open(struct set *s, const struct mmu_range_notifier_ops *ops, unsigned int devices,
		    bool quick)
{
	int err = mrn_mm_create(&s->mm);

	s->times = quick ? QUICK_TIMES : TIMES;
	while (!err && s->devices < devices) {
		struct device *d = &s->device[s->devices];

		d->mrn.ops = ops;
		err = mmu_range_notifier_insert(&d->mrn, RANGE, RANGE, s->mm);
		s->devices += !err;
	}
	return err;
}

static double set_run(void *ctx)
{
	struct set *s = ctx;
	uint64_t began = mrn_now_ns();

	for (unsigned int i = 0; i < s->times; i++) {
		struct mmu_notifier_range r;

		mmu_notifier_range_init(&r, MMU_NOTIFY_UNMAP, 0, s->mm, RANGE, 2 * RANGE);
		if (mmu_notifier_invalidate_range_start(&r))
			return -1;
		mmu_notifier_invalidate_range_end(&r);
	}
	return (double)(mrn_now_ns() - began) / s->times;
}

int bench_passes(struct bench_table *table)
{
	static const struct {
		const char *name;
		const struct mmu_range_notifier_ops *ops;
		unsigned int devices;
	} kinds[] = {
		{"mrn", &two_passes, DEVICES},
		{"one-pass", &one_pass, DEVICES},
		{"one-device", &one_pass, 1},
	};
	enum { KINDS = sizeof(kinds) / sizeof(*kinds) };
	struct bench_contender c[KINDS];
	struct set set[KINDS] = {0};
	int err = 0;

	for (int i = 0; i < KINDS && !err; i++) {
		err = set_open(&set[i], kinds[i].ops, kinds[i].devices, table->quick);
		c[i] = (struct bench_contender){.name = kinds[i].name,
						.run = set_run,
						.ctx = &set[i]};
	}
	if (!err)
		bench_measure(table, "two_pass", DEVICES, 1, c, KINDS);
	for (int i = 0; i < KINDS; i++)
		set_close(&set[i]);
	return err;
}
