/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who waits for whom: callbacks and devices that wait for a thread which touches managed memory, and a forked child,
 * which waits for nobody.
 */
#include "hmm/change.h"
#include "hmm/check.h"
#include "hmm/events.h"
#include "tests/hmm/fixture.h"

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
	seen_by_tsan();
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

static struct test_gate begun_once, go_on, ended_once, became_a_hole;
static uint32_t begun;
static struct mrn_hmm_region *in_question;

static bool is_a_hole(struct mrn_hmm_region *r)
{
	bool is;

	mrn_mutex_lock(&r->lock);
	is = r->page[0].state == PAGE_HOLE;
	mrn_mutex_unlock(&r->lock);
	return is;
}

/* The first waits in the middle. */
static void count_losses(struct hmm_rig *rig, const struct hmm_event *e)
{
	seen_by_tsan();
	if (e->event != MMU_NOTIFY_UNMAP)
		return;
	if (e->is_end) {
		test_gate_open(&ended_once);
		if (is_a_hole(in_question))
			test_gate_open(&became_a_hole);
	} else if (ADD(&begun, 1) == 1) {
		test_gate_open(&begun_once);
		test_gate_wait(&go_on);
	}
}

/* However many workers are called for it. */
TEST(a_loss_is_announced_once)
{
	HMM_RIG(rig, .frames = 64, .handlers = 1);
	char *p = region(&rig, 2, RW);

	in_question = mrn_hmm_region_get(rig.hmm, (uintptr_t)p);
	rig.log.hook = count_losses;
	CHECK_EQ(munmap(p, PAGE(1)), 0);
	test_gate_wait(&begun_once);
	mrn_hmm_lose(rig.hmm);
	CHECK_EQ(LOAD(&begun), 1);
	test_gate_open(&go_on);
	test_gate_wait(&became_a_hole);
	settle(&rig, p, 1);
	mrn_hmm_region_put(in_question);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}
TWIN(a_loss_is_announced_once, by_each, BREAK(HMM_TOLD));

/* Of a page that is locked just then, once more when it no longer is. */
TEST(a_loss_of_a_locked_page_is_announced_again)
{
	HMM_RIG(rig, .frames = 64, .handlers = 1);
	char *p = region(&rig, 2, RW);
	struct mrn_hmm_region *r = mrn_hmm_region_get(rig.hmm, (uintptr_t)p);

	in_question = r;
	rig.log.hook = count_losses;
	test_gate_open(&go_on);
	fill_pages(p, 1, 1);
	settle(&rig, p, 1);
	mrn_hmm_lock(r, 0, 1);
	CHECK_EQ(munmap(p, PAGE(1)), 0);
	test_gate_wait(&ended_once);
	CHECK(!is_a_hole(r));
	mrn_hmm_unlock(r, 0, 1);
	test_gate_wait(&became_a_hole);
	settle(&rig, p, 1);
	CHECK(LOAD(&begun) >= 2);
	mrn_hmm_region_put(r);
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

/* -------------------------------------------------------------------------- no call is left in the middle */

/* Every callback and every function of a device is a point where a thread is cancelled if it may be. */
static uint32_t points;

static void cancel_point(void)
{
	ADD(&points, 1);
	pthread_testcancel();
}

static void cancel_in_callback(struct hmm_rig *rig, const struct hmm_event *e)
{
	cancel_point();
}

static long cancel_in_alloc(struct mrn_hmm_device *dev, size_t n, uint64_t *to)
{
	cancel_point();
	return test_device_alloc(dev, n, to);
}

static void cancel_in_free(struct mrn_hmm_device *dev, size_t n, const uint64_t *freed)
{
	cancel_point();
	test_device_free(dev, n, freed);
}

static int cancel_to_device(struct mrn_hmm_device *dev, size_t n, const uint64_t *to,
			    void *const *frames)
{
	cancel_point();
	return test_device_to_device(dev, n, to, frames);
}

static int cancel_to_ram(struct mrn_hmm_device *dev, size_t n, void *const *frames,
			 const uint64_t *from)
{
	cancel_point();
	return test_device_to_ram(dev, n, frames, from);
}

static void cancel_in_violation(void *arg, uint64_t frame, size_t offset, uint64_t found)
{
	cancel_point();
}

static const struct mrn_hmm_device_ops cancelling_ops = {
	cancel_in_alloc,
	cancel_in_free,
	cancel_to_device,
	cancel_to_ram,
};

struct doomed {
	struct hmm_rig *rig;
	char *p;
	void (*call)(struct hmm_rig *rig, char *p);
	struct test_gate returned;
};

static void *doomed_main(void *arg)
{
	struct doomed *d = arg;

	CHECK_EQ(pthread_cancel(pthread_self()), 0);
	d->call(d->rig, d->p);
	test_gate_open(&d->returned);
	pthread_testcancel();
	FAIL("not cancelled");
}

static void call_discard(struct hmm_rig *rig, char *p)
{
	CHECK_ERR(mrn_hmm_discard(rig->hmm, p, PAGE(4)), 0);
}

static void call_reap(struct hmm_rig *rig, char *p)
{
	CHECK_ERR(mrn_hmm_reap(rig->hmm, p, PAGE(4)), 0);
}

static void call_compact(struct hmm_rig *rig, char *p)
{
	CHECK(mrn_hmm_compact(rig->hmm, p, PAGE(4)) >= 0);
}

static void call_reclaim(struct hmm_rig *rig, char *p)
{
	CHECK(mrn_hmm_reclaim(rig->hmm, p, PAGE(4)) >= 0);
}

static void call_writeback(struct hmm_rig *rig, char *p)
{
	CHECK(mrn_hmm_writeback(rig->hmm, p, PAGE(4)) >= 0);
}

static void call_protect(struct hmm_rig *rig, char *p)
{
	CHECK_ERR(mrn_hmm_protect(rig->hmm, p, PAGE(4), RW), 0);
}

static void call_soft_dirty(struct hmm_rig *rig, char *p)
{
	CHECK_ERR(mrn_hmm_clear_soft_dirty(rig->hmm, p, PAGE(4)), 0);
}

static void call_unmap(struct hmm_rig *rig, char *p)
{
	CHECK_ERR(mrn_hmm_unmap(rig->hmm, p, PAGE(4)), 0);
}

static void call_move(struct hmm_rig *rig, char *p)
{
	CHECK_ERR(mrn_hmm_move(rig->hmm, p, p + PAGE(4), PAGE(4)), 0);
}

static void call_to_device(struct hmm_rig *rig, char *p)
{
	CHECK_EQ(mrn_hmm_migrate_to_device(rig->hmm, &device.dev, p, PAGE(4), NULL), 4);
}

static void call_to_ram(struct hmm_rig *rig, char *p)
{
	CHECK_EQ(mrn_hmm_migrate_to_ram(rig->hmm, p, PAGE(4)), 2);
}

static void call_exclusive(struct hmm_rig *rig, char *p)
{
	unsigned long pfns[4];

	CHECK_EQ(mrn_hmm_make_exclusive(rig->hmm, p, PAGE(4), rig, pfns), 4);
}

static void call_pin(struct hmm_rig *rig, char *p)
{
	uint64_t frames[4];

	CHECK_EQ(mrn_hmm_pin(rig->hmm, p, PAGE(4), true, frames), 4);
	mrn_hmm_unpin(rig->hmm, frames, 4, false);
}

static void call_fault(struct hmm_rig *rig, char *p)
{
	static struct hmm_view view;

	view_init(&view, rig, p, 4);
	CHECK_ERR(view_fault(&view, HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE), 0);
	view_exit(&view);
}

static void call_remove(struct hmm_rig *rig, char *p)
{
	CHECK_ERR(mrn_hmm_device_remove(rig->hmm, &device.dev), 0);
}

static void call_free(struct hmm_rig *rig, char *p)
{
	CHECK_ERR(mrn_hmm_free(rig->hmm, p), 0);
}

static void call_destroy(struct hmm_rig *rig, char *p)
{
	CHECK_ERR(mrn_hmm_destroy(rig->hmm), 0);
}

static void cancel_in(void (*fn)(struct hmm_rig *, char *))
{
	static struct hmm_rig rig;
	struct doomed d = {.rig = &rig, .call = fn};
	pthread_t thread;
	void *result;

	hmm_rig_init(&rig, (struct mrn_hmm_opts){.frames = 32,
						 .quarantine = 2,
						 .violation = cancel_in_violation});
	d.p = region(&rig, 8, RW);
	device_init(&device, &rig, 16);
	device.dev.ops = &cancelling_ops;
	fill_pages(d.p, 8, 1);
	/* One that is not where it was, and some that have to come back: from a device, and lent. */
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, d.p, PAGE(2), NULL), 2);
	settle(&rig, d.p, 8);
	points = 0;
	rig.log.hook = cancel_in_callback;
	CHECK_EQ(pthread_create(&thread, NULL, doomed_main, &d), 0);
	CHECK_EQ(pthread_join(thread, &result), 0);
	CHECK(result == PTHREAD_CANCELED);
	CHECK_MSG(test_gate_is_open(&d.returned), "it was cancelled inside");
	CHECK(points > 0);
	if (fn != call_destroy) {
		/* All of it can be used on. */
		rig.log.hook = NULL;
		if (fn != call_free)
			free_region(&rig, d.p);
		check_settled(&rig);
		CHECK_ERR(mrn_hmm_destroy(rig.hmm), 0);
	}
	free(device.memory);
}

TEST(calls_are_not_cancelled_in_the_middle)
{
	static void (*const call[])(struct hmm_rig *, char *) = {
		call_discard, call_reap,       call_compact, call_reclaim, call_writeback,
		call_protect, call_soft_dirty, call_unmap,   call_move,	   call_to_device,
		call_to_ram,  call_exclusive,  call_pin,     call_fault,   call_remove,
		call_free,    call_destroy,
	};

	if (TEST_TSAN)
		SKIP("ThreadSanitizer's runtime does not bear cancelled threads");
	for (size_t i = 0; i < sizeof(call) / sizeof(call[0]); i++)
		cancel_in(call[i]);
}
