/* SPDX-License-Identifier: BSD-3-Clause */
/* Bad input to every function of managed memory, and calls from callbacks. */
#include "tests/hmm/changes.h"

/* ---------------------------------------------------------------------------------------- bad input */

/* One call with an address and a length. */
struct call {
	const char *name;
	long (*run)(struct hmm_rig *rig, void *p, size_t length);
};

static uint64_t frames_out[64];
static uint8_t dirty_out[64];

#define CALL(ident, expr)                                                     \
	static long call_##ident(struct hmm_rig *rig, void *p, size_t length) \
	{                                                                     \
		return expr;                                                  \
	}

CALL(unmap, mrn_hmm_unmap(rig->hmm, p, length))
CALL(map, mrn_hmm_map(rig->hmm, p, length, RW))
CALL(protect, mrn_hmm_protect(rig->hmm, p, length, RD))
CALL(discard, mrn_hmm_discard(rig->hmm, p, length))
CALL(reap, mrn_hmm_reap(rig->hmm, p, length))
CALL(compact, mrn_hmm_compact(rig->hmm, p, length))
CALL(reclaim, mrn_hmm_reclaim(rig->hmm, p, length))
CALL(writeback, mrn_hmm_writeback(rig->hmm, p, length))
CALL(clear, mrn_hmm_clear_soft_dirty(rig->hmm, p, length))
CALL(soft_dirty, mrn_hmm_soft_dirty(rig->hmm, p, length, dirty_out))
CALL(pin, mrn_hmm_pin(rig->hmm, p, length, true, frames_out))
CALL(to_device, mrn_hmm_migrate_to_device(rig->hmm, &device.dev, p, length, NULL))
CALL(to_ram, mrn_hmm_migrate_to_ram(rig->hmm, p, length))
CALL(exclusive, mrn_hmm_make_exclusive(rig->hmm, p, length, lender, pfns))

static char *elsewhere;
CALL(move_from, mrn_hmm_move(rig->hmm, p, elsewhere, length))
CALL(move_to, mrn_hmm_move(rig->hmm, elsewhere, p, length))

static const struct call calls[] = {
	{"unmap", call_unmap},
	{"map", call_map},
	{"protect", call_protect},
	{"discard", call_discard},
	{"reap", call_reap},
	{"compact", call_compact},
	{"reclaim", call_reclaim},
	{"writeback", call_writeback},
	{"clear_soft_dirty", call_clear},
	{"soft_dirty", call_soft_dirty},
	{"pin", call_pin},
	{"to_device", call_to_device},
	{"to_ram", call_to_ram},
	{"exclusive", call_exclusive},
	{"move_from", call_move_from},
	{"move_to", call_move_to},
};

enum { NR_CALLS = sizeof(calls) / sizeof(calls[0]) };

TEST(addresses_that_are_none)
{
	HMM_RIG(rig, .frames = 256);
	char *p = region(&rig, 8, RW), *outside;

	device_init(&device, &rig, 16);
	elsewhere = region(&rig, 32, RW);
	fill_pages(p, 8, 1);
	fill_pages(elsewhere, 32, 2);
	outside = mmap(NULL, PAGE(2), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(outside != MAP_FAILED);
	for (size_t i = 0; i < NR_CALLS; i++) {
		const struct {
			void *p;
			size_t length;
		} bad[] = {
			{p, 0},
			{p, 1},
			{p, PAGE(1) + 1},
			{p + 1, PAGE(1)},
			{p + 8, PAGE(1) - 8},
			{p, PAGE(9)},
			{p + PAGE(7), PAGE(2)},
			{p + PAGE(8), PAGE(1) * 0},
			{p - PAGE(1) + 1, PAGE(1)},
			{p, (size_t)0 - PAGE(1)},
			{p + PAGE(4), (size_t)0 - PAGE(4)},
			{NULL, PAGE(1)},
			{outside, PAGE(1)},
			{(void *)(uintptr_t)-PAGE(1), PAGE(1)},
			{&rig, PAGE(1)},
		};

		for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
			CHECK_MSG(calls[i].run(&rig, bad[k].p, bad[k].length) == -EINVAL, "%s %zu",
				  calls[i].name, k);
	}
	expect_none(&rig);
	check_pages(p, 8, 1);
	check_pages(elsewhere, 32, 2);
	CHECK_EQ(munmap(outside, PAGE(2)), 0);
	free_region(&rig, p);
	/* What is freed is no region any more. */
	forget_events(&rig);
	for (size_t i = 0; i < NR_CALLS; i++)
		CHECK_MSG(calls[i].run(&rig, p, PAGE(1)) == -EINVAL, "%s", calls[i].name);
	CHECK_ERR(mrn_hmm_free(rig.hmm, p), -EINVAL);
	CHECK_ERR(mrn_hmm_free(rig.hmm, elsewhere + PAGE(1)), -EINVAL);
	CHECK_ERR(mrn_hmm_free(rig.hmm, elsewhere + 1), -EINVAL);
	CHECK_ERR(mrn_hmm_free(rig.hmm, NULL), -EINVAL);
	expect_none(&rig);
	check_pages(elsewhere, 32, 2);
	free_region(&rig, elsewhere);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

TEST(arguments_that_are_wrong)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 8, RW);
	struct hmm_rig none = {0};
	struct mrn_hmm_device odd = {0};
	struct mrn_hmm_device_ops partial = test_device_ops;
	struct mrn_hmm_stats stats;
	void *at = &at;
	uint64_t page;

	device_init(&device, &rig, 16);
	fill_pages(p, 8, 1);
	elsewhere = p + PAGE(4);
	for (size_t i = 0; i < NR_CALLS; i++)
		CHECK_MSG(calls[i].run(&none, p, PAGE(1)) == -EINVAL, "%s", calls[i].name);
	CHECK_ERR(mrn_hmm_free(NULL, p), -EINVAL);
	CHECK_ERR(mrn_hmm_destroy(NULL), -EINVAL);
	CHECK_ERR(mrn_hmm_get_stats(NULL, &stats, sizeof(stats)), -EINVAL);
	CHECK_ERR(mrn_hmm_get_stats(rig.hmm, NULL, 1), -EINVAL);
	CHECK(!mrn_hmm_mm(NULL));
	CHECK(!mrn_hmm_frame(NULL, 0));
	CHECK(!mrn_hmm_frame(rig.hmm, 64));
	CHECK(!mrn_hmm_frame(rig.hmm, UINT64_MAX));
	CHECK(mrn_hmm_frame(rig.hmm, 63));
	mrn_hmm_set_dirty(rig.hmm, 64);
	mrn_hmm_set_dirty(NULL, 0);
	mrn_hmm_unpin(NULL, &page, 1, true);
	/* Protections. */
	CHECK_ERR(mrn_hmm_protect(rig.hmm, p, PAGE(1), PROT_EXEC), -EINVAL);
	CHECK_ERR(mrn_hmm_protect(rig.hmm, p, PAGE(1), -1), -EINVAL);
	CHECK_ERR(mrn_hmm_map(rig.hmm, p, PAGE(1), PROT_EXEC), -EINVAL);
	/* Alloc. */
	CHECK_ERR(mrn_hmm_alloc(NULL, PAGE(1), RW, 0, &at), -EINVAL);
	CHECK_ERR(mrn_hmm_alloc(rig.hmm, 0, RW, 0, &at), -EINVAL);
	CHECK_ERR(mrn_hmm_alloc(rig.hmm, 1, RW, 0, &at), -EINVAL);
	CHECK_ERR(mrn_hmm_alloc(rig.hmm, PAGE(1), RW | PROT_EXEC, 0, &at), -EINVAL);
	CHECK_ERR(mrn_hmm_alloc(rig.hmm, PAGE(1), RW, 10, &at), -EINVAL);
	CHECK_ERR(mrn_hmm_alloc(rig.hmm, PAGE(1), RW, 0, NULL), -EINVAL);
	CHECK_ERR(mrn_hmm_alloc(rig.hmm, (size_t)0 - PAGE(1), RW, 0, &at), -ENOMEM);
	CHECK_ERR(mrn_hmm_alloc(rig.hmm, (size_t)1 << 50, RW, 0, &at), -ENOMEM);
	CHECK(at == &at);
	/* Move onto itself. */
	CHECK_ERR(mrn_hmm_move(rig.hmm, p, p, PAGE(1)), -EINVAL);
	CHECK_ERR(mrn_hmm_move(rig.hmm, p, p + PAGE(1), PAGE(2)), -EINVAL);
	CHECK_ERR(mrn_hmm_move(rig.hmm, p + PAGE(1), p, PAGE(2)), -EINVAL);
	/* Where results go. */
	CHECK_ERR(mrn_hmm_pin(rig.hmm, p, PAGE(1), true, NULL), -EINVAL);
	CHECK_ERR(mrn_hmm_soft_dirty(rig.hmm, p, PAGE(1), NULL), -EINVAL);
	CHECK_ERR(mrn_hmm_make_exclusive(rig.hmm, p, PAGE(1), lender, NULL), -EINVAL);
	CHECK_ERR(mrn_hmm_make_exclusive(rig.hmm, p, PAGE(1), NULL, pfns), -EINVAL);
	/* Devices. */
	CHECK_ERR(mrn_hmm_device_add(NULL, &odd), -EINVAL);
	CHECK_ERR(mrn_hmm_device_add(rig.hmm, NULL), -EINVAL);
	CHECK_ERR(mrn_hmm_device_add(rig.hmm, &odd), -EINVAL);
	odd.pages = 4;
	CHECK_ERR(mrn_hmm_device_add(rig.hmm, &odd), -EINVAL);
	partial.free = NULL;
	odd.ops = &partial;
	CHECK_ERR(mrn_hmm_device_add(rig.hmm, &odd), -EINVAL);
	odd.ops = &test_device_ops;
	odd.pages = UINT64_MAX;
	CHECK_ERR(mrn_hmm_device_add(rig.hmm, &odd), -ENOSPC);
	CHECK_ERR(mrn_hmm_device_remove(rig.hmm, &odd), -ENOENT);
	CHECK_ERR(mrn_hmm_device_remove(rig.hmm, NULL), -ENOENT);
	CHECK_ERR(mrn_hmm_migrate_to_device(rig.hmm, &odd, p, PAGE(1), NULL), -ENOENT);
	CHECK_ERR(mrn_hmm_migrate_to_device(rig.hmm, NULL, p, PAGE(1), NULL), -ENOENT);
	CHECK(!mrn_hmm_device_page(&odd, 5, &page));
	expect_none(&rig);
	check_pages(p, 8, 1);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

TEST(create_says_what_is_wrong)
{
	struct mrn_hmm *hmm = NULL;
	char why[200] = "";
	struct mrn_hmm_opts o = {.size = sizeof(o), .why = why, .why_size = sizeof(why)};

	CHECK_ERR(mrn_hmm_create(NULL, NULL), -EINVAL);
	o.size = sizeof(o) - 1;
	CHECK_ERR(mrn_hmm_create(&o, &hmm), -EINVAL);
	o.size = sizeof(o);
	o.frames = UINT64_MAX;
	CHECK_ERR(mrn_hmm_create(&o, &hmm), -EINVAL);
	CHECK(strstr(why, "frames"));
	o.frames = 8;
	o.handlers = 1000;
	CHECK_ERR(mrn_hmm_create(&o, &hmm), -EINVAL);
	CHECK(strstr(why, "handlers"));
	o.handlers = 64;
	o.quarantine = 8;
	CHECK_ERR(mrn_hmm_create(&o, &hmm), -EINVAL);
	CHECK(strstr(why, "quarantine"));
	CHECK(!hmm);
	/* As many handlers as there may be; and the defaults. */
	o.quarantine = 0;
	for (int i = 0; i < 2; i++) {
		int err = mrn_hmm_create(i ? NULL : &o, &hmm);

		if (err == -EPERM || err == -ENOSYS || err == -EOPNOTSUPP)
			SKIP("%s", why);
		CHECK_ERR(err, 0);
		CHECK(mrn_hmm_mm(hmm));
		CHECK(mrn_hmm_why(hmm));
		CHECK_EQ(mrn_hmm_frame(hmm, 8) != NULL, i);
		CHECK_ERR(mrn_hmm_destroy(hmm), 0);
	}
}

static struct call callback_call;

static void call_from_callback(struct hmm_rig *rig, const struct hmm_event *e)
{
	struct mrn_hmm_device d = {.ops = &test_device_ops, .pages = 1};
	void *at;

	for (size_t i = 0; i < NR_CALLS; i++)
		CHECK_MSG(calls[i].run(rig, change_at, PAGE(1)) == -EDEADLK, "%s", calls[i].name);
	CHECK_ERR(mrn_hmm_alloc(rig->hmm, PAGE(1), RW, 0, &at), -EDEADLK);
	CHECK_ERR(mrn_hmm_free(rig->hmm, change_at), -EDEADLK);
	CHECK_ERR(mrn_hmm_device_add(rig->hmm, &d), -EDEADLK);
	CHECK_ERR(mrn_hmm_device_remove(rig->hmm, &device.dev), -EDEADLK);
	CHECK_ERR(mrn_hmm_destroy(rig->hmm), -EDEADLK);
	/* These may be called. */
	CHECK(mrn_hmm_frame(rig->hmm, 0));
	mrn_hmm_set_dirty(rig->hmm, page_at(rig, change_at).home);
	callback_call.name = "done";
}

TEST(callbacks_are_turned_away)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 8, RW);

	device_init(&device, &rig, 16);
	fill_pages(p, 8, 1);
	change_at = p;
	elsewhere = p + PAGE(4);
	rig.log.hook = call_from_callback;
	CHECK_ERR(run_protect(&rig, p, 8), 0);
	rig.log.hook = NULL;
	CHECK(callback_call.name);
	expect(&rig, MMU_NOTIFY_PROTECTION_VMA, p, 8, NULL);
	check_pages(p, 8, 1);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

/* Unpinning is for callbacks: the last pin, too. */
static uint64_t unpin_inside;

static void unpin_from_callback(struct hmm_rig *rig, const struct hmm_event *e)
{
	if (!e->is_end)
		mrn_hmm_unpin(rig->hmm, &unpin_inside, 1, true);
}

TEST(callback_may_unpin)
{
	HMM_RIG(rig, .frames = 64, .quarantine = 4);
	char *p = region(&rig, 1, RW);

	for (int i = 0; i < 2; i++) {
		fill_pages(p, 1, 1);
		CHECK_EQ(mrn_hmm_pin(rig.hmm, p, PAGE(1), true, &unpin_inside), 1);
		rig.log.hook = unpin_from_callback;
		if (i == 0)
			CHECK_EQ(run_reclaim(&rig, p, 1), 1);
		else
			CHECK_ERR(run_discard(&rig, p, 1), 0);
		rig.log.hook = NULL;
		CHECK_EQ(stats_of(&rig).frames_used, 0);
		if (i == 0)
			check_page(p, 0, 1);
	}
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}
