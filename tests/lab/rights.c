/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices that ignore one kind of event, and that the oracle finds them out: each event takes away something else. The
 * steps are the events.
 */
#include <errno.h>
#include <string.h>

#include "tests/harness/break.h"
#include "tests/harness/test.h"
#include "lab/parts/mmu.h"
#include "lab/run.h"
#include "os/container_of.h"

/* Obeys, but does not say what it has written to. */
#define NO_DIRTY (MMU_NOTIFY_EXCLUSIVE + 1)

struct device {
	struct lab *lab;
	struct mmu_range_notifier notifier;
	pthread_mutex_t lock;
	struct lab_mmu mmu;
	struct lab_thread *engine;
};

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	struct device *d = container_of(mrn, struct device, notifier);
	size_t first = lab_page(d->lab, range->start);

	if (lab_is_broken(d->lab, (int)range->event))
		return true;
	if (mmu_notifier_range_blockable(range))
		lab_lock(&d->lock);
	else if (pthread_mutex_trylock(&d->lock))
		return false;
	lab_count_invalidation(d->lab, range);
	mmu_range_notifier_update_seq(mrn, cur_seq);
	lab_mmu_unmap(&d->mmu, first, lab_page(d->lab, range->end) - first);
	pthread_mutex_unlock(&d->lock);
	return true;
}

static bool access_page(struct device *d, size_t page, bool write, struct lab_thread *t)
{
	uint64_t frame = lab_mmu_begin(&d->mmu, page, write);

	if (frame == LAB_NO_FRAME)
		return false;
	lab_pause(t);
	lab_dma(t, mrn_hmm_frame(lab_hmm(d->lab), frame), page, write);
	lab_mmu_end(&d->mmu, page);
	return true;
}

static void engine(void *arg, struct lab_thread *t)
{
	struct device *d = arg;

	while (!lab_thread_stopping(t)) {
		access_page(d, lab_below(t, lab_pages(d->lab)), lab_chance(t, 2), t);
		lab_pause(t);
	}
}

/* Marks the page as soon as the device may write to it: the mark lasts until the next event that takes it. */
static void map(struct device *d, size_t page, unsigned long pfn)
{
	uint64_t frame = mrn_hmm_pfn_to_frame(pfn);

	if ((pfn & HMM_PFN_WRITE) && !lab_is_broken(d->lab, NO_DIRTY))
		lab_set_dirty(d->lab, page, frame);
	lab_mmu_map(&d->mmu, page, frame, pfn & HMM_PFN_WRITE);
}

static int fault(struct device *d, size_t page, bool write)
{
	unsigned long pfn = 0;
	struct hmm_range range = {
		.notifier = &d->notifier,
		.start = lab_addr(d->lab, page),
		.end = lab_addr(d->lab, page + 1),
		.hmm_pfns = &pfn,
		.default_flags = HMM_PFN_REQ_FAULT | (write ? HMM_PFN_REQ_WRITE : 0),
	};
	int err;

	range.notifier_seq = mmu_range_read_begin(&d->notifier);
	err = hmm_range_fault(&range);
	if (err)
		return err;
	pthread_mutex_lock(&d->lock);
	if (mmu_range_read_retry(&d->notifier, range.notifier_seq))
		err = -EBUSY;
	else
		map(d, page, pfn);
	pthread_mutex_unlock(&d->lock);
	return err;
}

static void work(void *dev, struct lab_thread *t)
{
	struct device *d = dev;
	size_t page = lab_below(t, lab_pages(d->lab));
	bool write = lab_chance(t, 2);

	lab_count_retries(t, 0);
	if (access_page(d, page, write, t))
		return;
	while (fault(d, page, write) == -EBUSY)
		;
	access_page(d, page, write, t);
}

static int open_device(struct lab *lab, void *dev)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};
	struct device *d = dev;
	int err = lab_mmu_init(&d->mmu, lab_pages(lab));

	d->lab = lab;
	pthread_mutex_init(&d->lock, NULL);
	d->notifier.ops = &ops;
	d->notifier.driver_lock = &d->lock;
	if (!err)
		err = mmu_range_notifier_insert(&d->notifier, lab_addr(lab, 0),
						lab_bytes(lab_pages(lab)), lab_mm(lab));
	if (!err)
		d->engine = lab_thread_start(lab, engine, d);
	return err || d->engine ? err : -ENOMEM;
}

static void shut(void *dev)
{
	struct device *d = dev;

	if (d->engine)
		lab_thread_join(d->engine);
	mmu_range_notifier_remove(&d->notifier);
	lab_mmu_destroy(&d->mmu);
	pthread_mutex_destroy(&d->lock);
}

static const struct lab_step steps[] = {
	[MMU_NOTIFY_UNMAP] = {.name = "unmap"},
	[MMU_NOTIFY_CLEAR] = {.name = "clear"},
	[MMU_NOTIFY_PROTECTION_VMA] = {.name = "protection_vma"},
	[MMU_NOTIFY_PROTECTION_PAGE] = {.name = "protection_page"},
	[MMU_NOTIFY_SOFT_DIRTY] = {.name = "soft_dirty"},
	[MMU_NOTIFY_RELEASE] = {.name = "release"},
	[MMU_NOTIFY_MIGRATE] = {.name = "migrate"},
	[MMU_NOTIFY_EXCLUSIVE] = {.name = "exclusive"},
	[NO_DIRTY] = {.name = "no_dirty"},
	{0},
};

static const struct lab_driver device = {
	.name = "device",
	.steps = steps,
	.size = sizeof(struct device),
	.open = open_device,
	.work = work,
	.close = shut,
};

static void run(uint64_t ops, uint64_t seed, int ignored, struct lab_result *result)
{
	const struct lab_config config = {
		.ops = ops,
		.threads = 2,
		.seed = seed,
		.broken = ignored,
		.stop_at_finding = true,
	};
	char why[256] = "";
	int err = lab_run(&device, &config, result, why, sizeof(why));

	if (err == -EPERM || err == -ENOSYS || err == -EOPNOTSUPP)
		SKIP("%s", why);
	CHECK_MSG(!err, "%s", why);
}

TEST(a_device_that_obeys_all_events_is_clean, .timeout_s = 60)
{
	static struct lab_result r;

	run(test_is_sanitized() ? 2000 : 20000, 1, -1, &r);
	CHECK_MSG(!lab_result_findings(&r), "%s", r.finding);
	CHECK(r.invalidations);
}

static void check_ignored(uint64_t seeds, uint64_t missed)
{
	static struct lab_result r;

	BREAK(MISUSE_CHECKS);
	for (int event = 0; steps[event].name; event++) {
		uint64_t found = 0, ops = 0;

		for (uint64_t seed = 1; seed <= seeds; seed++) {
			/* The release comes at the end. */
			run(event == MMU_NOTIFY_RELEASE ? 2000 : 200000, seed, event, &r);
			found += lab_result_findings(&r) > 0;
			ops += r.ops;
		}
		NOTE("%s: found on %ju of %ju seeds, after %ju operations: %.100s",
		     steps[event].name, (uintmax_t)found, (uintmax_t)seeds,
		     (uintmax_t)(ops / seeds), r.finding);
		CHECK_MSG(found + missed >= seeds, "%s", steps[event].name);
	}
}

TEST(a_device_that_ignores_an_event_is_found, .timeout_s = 120)
{
	if (test_is_sanitized())
		SKIP("broken devices race on purpose");
	check_ignored(1, 0);
}

TEST(a_device_that_ignores_an_event_is_found_on_9_of_10_seeds, .timeout_s = 600, .slow = true)
{
	if (test_is_sanitized())
		SKIP("broken devices race on purpose");
	check_ignored(10, 1);
}
