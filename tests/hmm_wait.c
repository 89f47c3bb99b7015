/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who waits for whom: callbacks and devices that wait for a thread which touches managed memory, and a forked child,
 * which waits for nobody.
 */
#include "core/check.h"
#include "tests/hmm_fixture.h"

/* --------------------------------------------------------------------- a fault is served whatever else runs */

/* Page i is touched when whoever is asked for page i - 1 wants it; page 0 by the test. The last needs nobody. */
enum { DEPTH = 8 };

struct link {
	char *at;
	struct test_gate wanted, touched;
	struct test_thread thread;
};

static struct link chain[DEPTH + 1];
static uint32_t asked;

static void touch_when_wanted(void *arg)
{
	struct link *l = arg;

	test_gate_wait(&l->wanted);
	CHECK_EQ(try_read(l->at), 0);
	test_gate_open(&l->touched);
}

/* A callback, or a device, waits for the next page's touch. */
static void wait_for_next(uintptr_t addr)
{
	seen_by_tsan();
	for (size_t i = 0; i < DEPTH; i++) {
		if (addr != (uintptr_t)chain[i].at)
			continue;
		ADD(&asked, 1);
		test_gate_open(&chain[i + 1].wanted);
		test_gate_wait(&chain[i + 1].touched);
	}
}

static void wait_in_callback(struct hmm_rig *rig, const struct hmm_event *e)
{
	if (!e->is_end && (e->event == MMU_NOTIFY_MIGRATE || e->event == MMU_NOTIFY_EXCLUSIVE))
		wait_for_next(e->start);
}

static void start_chain(char *p)
{
	asked = 0;
	for (size_t i = 0; i <= DEPTH; i++) {
		chain[i] = (struct link){.at = p + PAGE(i)};
		test_thread(&chain[i].thread, touch_when_wanted, &chain[i]);
	}
}

static void run_chain(void)
{
	test_gate_open(&chain[0].wanted);
	for (size_t i = 0; i <= DEPTH; i++)
		test_join(&chain[i].thread);
	CHECK_EQ(asked, DEPTH);
}

static struct hmm_test_device device;

/* Each callback in a page fault waits for a thread that needs the next one: on a device, or lent. */
TEST(callbacks_that_wait_for_faults)
{
	HMM_RIG(rig, .frames = 64, .handlers = 1);
	char *p = region(&rig, DEPTH + 1, RW);
	unsigned long pfns[DEPTH];

	device_init(&device, &rig, 32);
	for (int lent = 0; lent < 2; lent++) {
		fill_pages(p, DEPTH + 1, 1);
		if (lent)
			CHECK_EQ(mrn_hmm_make_exclusive(rig.hmm, p, PAGE(DEPTH), &rig, pfns),
				 DEPTH);
		else
			CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p, PAGE(DEPTH),
							   NULL),
				 DEPTH);
		start_chain(p);
		rig.log.hook = wait_in_callback;
		run_chain();
		rig.log.hook = NULL;
		settle(&rig, p, DEPTH + 1);
		check_pages(p, DEPTH + 1, 1);
	}
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}
TWIN(callbacks_that_wait_for_faults, nobody_is_left, BREAK(HMM_SPARE), .timeout_s = 3,
     .accept_timeout = true);

static int copy_and_wait(struct mrn_hmm_device *dev, size_t n, void *const *frames,
			 const uint64_t *from)
{
	/* The device's pages were taken in this order. */
	wait_for_next((uintptr_t)chain[from[0]].at);
	return test_device_to_ram(dev, n, frames, from);
}

/* The same for a device that waits for one while it copies. */
TEST(devices_that_wait_for_faults)
{
	struct mrn_hmm_device_ops ops = test_device_ops;
	HMM_RIG(rig, .frames = 64, .handlers = 1);
	char *p = region(&rig, DEPTH + 1, RW);

	device_init(&device, &rig, 32);
	ops.copy_to_ram = copy_and_wait;
	device.dev.ops = &ops;
	fill_pages(p, DEPTH + 1, 1);
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p, PAGE(DEPTH), NULL), DEPTH);
	start_chain(p);
	run_chain();
	check_pages(p, DEPTH + 1, 1);
	settle(&rig, p, DEPTH + 1);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

static void wait_when_lost(struct hmm_rig *rig, const struct hmm_event *e)
{
	if (e->event != MMU_NOTIFY_UNMAP || !(e->flags & MRN_RANGE_AFTER))
		return;
	if (!e->is_end)
		wait_for_next((uintptr_t)chain[DEPTH - 1].at);
	else
		test_gate_open(&chain[0].touched);
}

/* And for one that is told of pages that somebody has unmapped. */
TEST(losses_that_wait_for_faults)
{
	HMM_RIG(rig, .frames = 64, .handlers = 1);
	char *p = region(&rig, DEPTH + 1, RW);

	start_chain(p);
	rig.log.hook = wait_when_lost;
	CHECK_EQ(munmap(p, PAGE(1)), 0);
	test_gate_wait(&chain[0].touched);
	CHECK_EQ(asked, 1);
	rig.log.hook = NULL;
	for (size_t i = 1; i < DEPTH; i++)
		test_gate_open(&chain[i].wanted);
	for (size_t i = 1; i <= DEPTH; i++)
		test_join(&chain[i].thread);
	settle(&rig, p, 1);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

/* Many threads, one page: one worker, one announcement, and all of them go on. */
static void touch_at_once(void *arg)
{
	CHECK_EQ(try_read(arg), 0);
}

TEST(one_callback_for_all_who_touch)
{
	HMM_RIG(rig, .frames = 64, .handlers = 1);
	char *p = region(&rig, 1, RW);
	struct test_thread t[8];
	unsigned long pfn;

	for (int round = 0; round < ROUNDS(100); round++) {
		CHECK_EQ(try_write(p, 1), 0);
		settle(&rig, p, 1);
		CHECK_EQ(mrn_hmm_make_exclusive(rig.hmm, p, PAGE(1), &rig, &pfn), 1);
		forget_events(&rig);
		for (int i = 0; i < 8; i++)
			test_thread(&t[i], touch_at_once, p);
		for (int i = 0; i < 8; i++)
			test_join(&t[i]);
		settle(&rig, p, 1);
		expect(&rig, MMU_NOTIFY_EXCLUSIVE, p, 1, NULL);
	}
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}
