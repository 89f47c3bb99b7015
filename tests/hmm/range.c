/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hmm_range_fault on managed memory: what is asked for a page, what the answer says of it, and when
 * there is none.
 */
#include "tests/hmm/fixture.h"

static struct hmm_test_device device;
static struct hmm_view v, w;

/* To write is asked for together with the page. */
static const unsigned long FAULT = HMM_PFN_REQ_FAULT;
static const unsigned long WRITE = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE;

static unsigned long flags_of(unsigned long pfn)
{
	return pfn & (HMM_PFN_VALID | HMM_PFN_WRITE | HMM_PFN_ERROR);
}

static bool is_there(unsigned long pfn, bool writable)
{
	return flags_of(pfn) == (HMM_PFN_VALID | (writable ? (unsigned long)HMM_PFN_WRITE : 0));
}

/* --------------------------------------------------------------------------------------- snapshots */

enum { NONE, READ, WRITTEN, READ_ONLY, UNREADABLE, HOLE, AWAY, SWAPPED, LENT, CLEANED, KINDS };

/* A page of each kind. */
static char *one_of_each(struct hmm_rig *rig)
{
	char *p = region(rig, KINDS, RW);
	unsigned long pfn;

	for (size_t i = READ_ONLY; i < KINDS; i++)
		fill_pages(p + PAGE(i), 1, 1);
	CHECK_EQ(try_read(p + PAGE(READ)), 0);
	CHECK_EQ(try_write(p + PAGE(WRITTEN), 1), 0);
	CHECK_ERR(mrn_hmm_protect(rig->hmm, p + PAGE(READ_ONLY), PAGE(1), RD), 0);
	CHECK_ERR(mrn_hmm_protect(rig->hmm, p + PAGE(UNREADABLE), PAGE(1), PROT_NONE), 0);
	CHECK_ERR(mrn_hmm_unmap(rig->hmm, p + PAGE(HOLE), PAGE(1)), 0);
	CHECK_EQ(mrn_hmm_migrate_to_device(rig->hmm, &device.dev, p + PAGE(AWAY), PAGE(1), NULL),
		 1);
	CHECK_EQ(mrn_hmm_reclaim(rig->hmm, p + PAGE(SWAPPED), PAGE(1)), 1);
	CHECK_EQ(mrn_hmm_make_exclusive(rig->hmm, p + PAGE(LENT), PAGE(1), &device, &pfn), 1);
	CHECK_EQ(mrn_hmm_writeback(rig->hmm, p + PAGE(CLEANED), PAGE(1)), 1);
	settle(rig, p, KINDS);
	forget_events(rig);
	return p;
}

TEST(snapshot_tells_what_is_there_and_changes_nothing)
{
	HMM_RIG(rig, .frames = 64);
	struct mrn_hmm_page before[KINDS];
	struct mrn_hmm_stats s;
	int other_owner;
	char *p;

	device_init(&device, &rig, 16);
	p = one_of_each(&rig);
	view_init(&v, &rig, p, KINDS);
	for (size_t i = 0; i < KINDS; i++)
		before[i] = page_at(&rig, p + PAGE(i));
	s = stats_of(&rig);
	for (int round = 0; round < 3; round++) {
		v.range.dev_private_owner = round == 0	 ? NULL
					    : round == 1 ? &other_owner
							 : (void *)&device;
		CHECK_ERR(view_try(&v, 0), 0);
		CHECK_EQ(v.pfns[NONE], 0);
		CHECK(is_there(v.pfns[READ], !rig.hmm->read_only_maps));
		CHECK(is_there(v.pfns[WRITTEN], true));
		CHECK(is_there(v.pfns[READ_ONLY], false));
		CHECK_EQ(v.pfns[UNREADABLE], HMM_PFN_ERROR);
		CHECK_EQ(v.pfns[HOLE], HMM_PFN_ERROR);
		CHECK_EQ(v.pfns[SWAPPED], 0);
		CHECK_EQ(v.pfns[LENT], 0);
		CHECK(is_there(v.pfns[CLEANED], false));
		if (round == 2) {
			CHECK(is_there(v.pfns[AWAY], true));
			check_page(device_page(&device, v.pfns[AWAY]), 0, 1);
		} else {
			CHECK_EQ(v.pfns[AWAY], 0);
		}
		check_alias(&rig, p + PAGE(WRITTEN), v.pfns[WRITTEN]);
		check_alias(&rig, p + PAGE(READ_ONLY), v.pfns[READ_ONLY]);
	}
	for (size_t i = 0; i < KINDS; i++) {
		struct mrn_hmm_page now = page_at(&rig, p + PAGE(i));

		CHECK_MSG(now.flags == before[i].flags, "page %zu", i);
		CHECK_EQ(now.state, before[i].state);
		CHECK_EQ(now.home, before[i].home);
		CHECK_EQ(now.slot, before[i].slot);
		CHECK_EQ(now.pfn, before[i].pfn);
	}
	CHECK_EQ(stats_of(&rig).frames_used, s.frames_used);
	CHECK_EQ(stats_of(&rig).device_faults, s.device_faults);
	expect_none(&rig);
	view_exit(&v);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

/* ---------------------------------------------------------------------------------------- requests */

/* What is to come of a page of a kind that is asked for so; *entry: its flags. */
static int model(size_t kind, unsigned long request, unsigned long *entry)
{
	bool asks = request & HMM_PFN_REQ_FAULT, write = asks && (request & HMM_PFN_REQ_WRITE);

	*entry = HMM_PFN_ERROR;
	if (kind == HOLE || kind == UNREADABLE)
		return asks ? -EFAULT : 0;
	if (kind == READ_ONLY && write)
		return -EPERM;
	*entry = HMM_PFN_VALID;
	if (write || kind == WRITTEN)
		*entry |= HMM_PFN_WRITE;
	if (!asks && kind == NONE)
		*entry = 0;
	return 0;
}

TEST(request_is_what_mask_and_default_leave_of_it)
{
	static const size_t kinds[] = {NONE, WRITTEN, READ_ONLY, UNREADABLE, HOLE};
	/* Anything that is no request is no matter. */
	const unsigned long only = HMM_PFN_REQ_WRITE, noise = ~WRITE;
	const unsigned long in[] = {0, FAULT, only, WRITE, noise, noise | FAULT};
	const unsigned long mask[] = {0, FAULT, only, WRITE, ~0ul, noise};
	const unsigned long by_default[] = {0, FAULT, only, WRITE, noise};
	HMM_RIG(rig, .frames = 64);

	for (size_t n = 0; n < 5 * 6 * 6 * 5; n++) {
		unsigned long a = in[n % 6], b = mask[n / 6 % 6], c = by_default[n / 36 % 5], want;
		size_t kind = kinds[n / 180];
		char *p = region(&rig, 1, RW);
		int err;

		if (kind != NONE)
			CHECK_EQ(try_write(p, 1), 0);
		if (kind == READ_ONLY || kind == UNREADABLE)
			CHECK_ERR(mrn_hmm_protect(rig.hmm, p, PAGE(1),
						  kind == READ_ONLY ? RD : PROT_NONE),
				  0);
		if (kind == HOLE)
			CHECK_ERR(mrn_hmm_unmap(rig.hmm, p, PAGE(1)), 0);
		settle(&rig, p, 1);
		view_init(&v, &rig, p, 1);
		v.pfns[0] = a;
		v.range.pfn_flags_mask = b;
		err = model(kind, (a & b) | c, &want);
		/* Writable before it became so is no right to write. */
		CHECK_MSG(view_try(&v, c) == err, "kind %zu in %lx mask %lx default %lx", kind, a,
			  b, c);
		if (!err && kind != READ_ONLY)
			CHECK_MSG(flags_of(v.pfns[0]) == want,
				  "kind %zu in %lx mask %lx default %lx: %lx", kind, a, b, c,
				  v.pfns[0]);
		if (!err && kind == READ_ONLY)
			CHECK(is_there(v.pfns[0], false));
		view_exit(&v);
		free_region(&rig, p);
	}
	hmm_rig_exit(&rig);
}

/* Each page by itself: one may be asked for and the next left alone. */
TEST(pages_are_asked_for_one_by_one)
{
	HMM_RIG(rig, .frames = 2048);
	char *p = region(&rig, 1500, RW);

	CHECK_ERR(mrn_hmm_unmap(rig.hmm, p + PAGE(1000), PAGE(3)), 0);
	forget_events(&rig);
	view_init(&v, &rig, p, 1500);
	v.range.pfn_flags_mask = WRITE;
	for (size_t i = 0; i < 1500; i++)
		v.pfns[i] = i >= 1000 && i < 1003 ? 0 : i % 3 == 1 ? FAULT : i % 3 == 2 ? WRITE : 0;
	CHECK_ERR(view_try(&v, 0), 0);
	for (size_t i = 0; i < 1500; i++) {
		if (i >= 1000 && i < 1003)
			CHECK_EQ(v.pfns[i], HMM_PFN_ERROR);
		else if (i % 3 == 0)
			CHECK_EQ(v.pfns[i], 0);
		else
			CHECK(is_there(v.pfns[i], i % 3 == 2));
	}
	CHECK_EQ(stats_of(&rig).frames_used, 998);
	CHECK_EQ(stats_of(&rig).device_faults, 998);
	expect_none(&rig);
	view_exit(&v);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

/* More than are brought in in one step, from all the places where they may be. */
TEST(large_ranges_come_in)
{
	HMM_RIG(rig, .frames = 4096);
	char *p = region(&rig, 2000, RW);

	device_init(&device, &rig, DEVICE_PAGES);
	fill_pages(p, 2000, 1);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p + PAGE(200), PAGE(700)), 700);
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p + PAGE(1000), PAGE(300), NULL),
		 300);
	CHECK_ERR(mrn_hmm_discard(rig.hmm, p + PAGE(1400), PAGE(600)), 0);
	forget_events(&rig);
	view_init(&v, &rig, p, 2000);
	CHECK_ERR(view_fault(&v, WRITE), 0);
	/* One invalidation for each page that came back. */
	CHECK_EQ(events(&rig), 600);
	CHECK_EQ(device.in_use, 0);
	for (size_t i = 0; i < 2000; i++) {
		CHECK(is_there(v.pfns[i], true));
		if (i < 1400)
			check_page(frame_of(&rig, v.pfns[i]), i, 1);
		else
			CHECK_EQ(*frame_of(&rig, v.pfns[i]), 0);
		*frame_of(&rig, v.pfns[i]) = i;
	}
	for (size_t i = 0; i < 2000; i++)
		CHECK_EQ(word_at(p + PAGE(i)), i);
	view_exit(&v);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

/* What is dirty by a request to write is written when it goes. */
TEST(asking_to_write_is_writing)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 4, RW);

	fill_pages(p, 4, 1);
	view_init(&v, &rig, p, 4);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(4)), 4);
		CHECK_ERR(view_fault(&v, FAULT), 0);
		for (size_t k = 0; k < 4; k++)
			CHECK(is_there(v.pfns[k], !rig.hmm->read_only_maps));
		CHECK_ERR(view_fault(&v, WRITE), 0);
		for (size_t k = 0; k < 4; k++) {
			CHECK(is_there(v.pfns[k], true));
			frame_of(&rig, v.pfns[k])[k] = (uint64_t)i;
		}
	}
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(4)), 4);
	for (size_t k = 0; k < 4; k++)
		CHECK_EQ(word_at(p + PAGE(k) + 8 * k), 2);
	view_exit(&v);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

/* --------------------------------------------------------------------------------------- addresses */

TEST(several_regions_and_what_is_between)
{
	enum { REGIONS = 40 };
	HMM_RIG(rig, .frames = 4096);
	char *p[REGIONS], *low = NULL, *high = NULL;
	size_t n, managed = 0, most = 0;

	for (size_t i = 0; i < REGIONS; i++)
		p[i] = region(&rig, 16, RW);
	/* The most that lie together, wherever the kernel has put the others. */
	for (size_t i = 0; i < REGIONS; i++) {
		char *last = p[i];
		size_t here = 0;

		for (size_t k = 0; k < REGIONS; k++) {
			if (p[k] < p[i] || p[k] > p[i] + PAGE(4000))
				continue;
			last = p[k] > last ? p[k] : last;
			here++;
		}
		if (here <= most)
			continue;
		most = here;
		low = p[i];
		high = last;
	}
	CHECK(most >= 4);
	/* From the middle of the first to the middle of the last; one between is given back. */
	for (size_t i = 0; i < REGIONS; i++)
		if (p[i] > low && p[i] < high && low) {
			free_region(&rig, p[i]);
			p[i] = NULL;
			break;
		}
	n = (size_t)(high - low) / PAGE(1);
	view_init(&v, &rig, low + PAGE(8), n);
	for (size_t i = 0; i < REGIONS; i++)
		if (p[i])
			fill_pages(p[i], 16, i);
	CHECK_ERR(view_try(&v, FAULT), -EFAULT);
	CHECK_ERR(view_try(&v, 0), 0);
	v.range.pfn_flags_mask = FAULT;
	for (size_t k = 0; k < n; k++) {
		char *at = low + PAGE(8 + k);
		bool is = false;

		for (size_t i = 0; i < REGIONS; i++) {
			if (!p[i] || at < p[i] || at >= p[i] + PAGE(16))
				continue;
			is = true;
			check_page(frame_of(&rig, v.pfns[k]), (size_t)(at - p[i]) / PAGE(1), i);
		}
		managed += is;
		CHECK_EQ(v.pfns[k] == HMM_PFN_ERROR, !is);
		v.pfns[k] = is ? FAULT : 0;
	}
	CHECK_ERR(view_try(&v, 0), 0);
	CHECK(managed >= 32 && managed < n);
	view_exit(&v);
	for (size_t i = 0; i < REGIONS; i++)
		if (p[i])
			free_region(&rig, p[i]);
	hmm_rig_exit(&rig);
}

TEST(ranges_that_are_wrong)
{
	static struct mmu_range_notifier stray;
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 8, RW);
	struct mrn_mm *unmanaged;
	struct hmm_range good;

	CHECK_ERR(hmm_range_fault(NULL), -EINVAL);
	view_init(&v, &rig, p + PAGE(2), 4);
	good = v.range;
	for (int i = 0; i < 11; i++) {
		struct hmm_range r = good;

		r.notifier_seq = mmu_range_read_begin(&v.mrn);
		r.default_flags = FAULT;
		if (i == 0)
			r.notifier = NULL;
		else if (i == 1)
			r.hmm_pfns = NULL;
		else if (i == 2)
			r.end = r.start;
		else if (i == 3)
			r.end = r.start - PAGE(1);
		else if (i == 4)
			r.start += 1;
		else if (i == 5)
			r.end -= 1;
		else if (i == 6)
			r.start -= PAGE(1);
		else if (i == 7)
			r.end += PAGE(1);
		else if (i == 8)
			r.notifier = &stray;
		else if (i == 9)
			r.start = 0;
		else
			r.end = mrn_page_down(UINTPTR_MAX);
		CHECK_MSG(hmm_range_fault(&r) == -EINVAL, "%d", i);
		CHECK_MSG(mrn_hmm_range_fault_until(&r, NULL) == -EINVAL, "%d", i);
	}
	CHECK_EQ(stats_of(&rig).frames_used, 0);
	CHECK_ERR(view_try(&v, FAULT), 0);
	CHECK_EQ(stats_of(&rig).frames_used, 4);
	view_exit(&v);
	CHECK_ERR(hmm_range_fault(&v.range), -EINVAL);
	/* An mm that nobody manages. */
	CHECK_ERR(mrn_mm_create(&unmanaged), 0);
	CHECK_ERR(mmu_range_notifier_insert(&v.mrn, (uintptr_t)p, PAGE(8), unmanaged), 0);
	CHECK_ERR(view_try(&v, FAULT), -EINVAL);
	view_exit(&v);
	CHECK_ERR(mrn_mm_destroy(unmanaged), 0);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

/* A notifier may outlive the space. */
TEST(after_the_end_of_the_space)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 8, RW);

	fill_pages(p, 8, 1);
	view_init(&v, &rig, p, 8);
	CHECK_ERR(view_try(&v, FAULT), 0);
	CHECK_ERR(mmu_notifier_unregister(&rig.log.mn, rig.mm), 0);
	CHECK_ERR(mrn_hmm_destroy(rig.hmm), 0);
	CHECK_EQ(v.calls, 1);
	CHECK_EQ(mmu_range_read_begin(&v.mrn), 0);
	CHECK_ERR(hmm_range_fault(&v.range), -EINVAL);
	CHECK_ERR(mrn_hmm_range_fault_until(&v.range, NULL), -ESRCH);
	view_exit(&v);
}

static int inside_err;

static void fault_inside(struct hmm_rig *rig, const struct hmm_event *e)
{
	inside_err = hmm_range_fault(&v.range);
	if (!inside_err)
		return;
	CHECK_ERR(mrn_hmm_range_fault_until(&v.range, NULL), inside_err);
}

TEST(not_from_a_callback)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 8, RW), *q = region(&rig, 8, RW);

	view_init(&v, &rig, p, 8);
	v.range.default_flags = FAULT;
	rig.log.hook = fault_inside;
	CHECK_ERR(mrn_hmm_discard(rig.hmm, q, PAGE(8)), 0);
	rig.log.hook = NULL;
	CHECK_ERR(inside_err, -EDEADLK);
	view_exit(&v);
	free_region(&rig, p);
	free_region(&rig, q);
	hmm_rig_exit(&rig);
}

/* ------------------------------------------------------------------------------------------- order */

static void expect_orders(struct hmm_rig *rig, size_t from, size_t to, unsigned int order)
{
	for (size_t i = from; i < to; i++)
		CHECK_MSG(hmm_pfn_to_map_order(v.pfns[i]) == order, "page %zu: %u", i,
			  hmm_pfn_to_map_order(v.pfns[i]));
	for (size_t i = from & ~(((size_t)1 << order) - 1); order && i + 1 < to; i++) {
		if (i < from || (i + 1) % ((size_t)1 << order) == 0)
			continue;
		CHECK_EQ(mrn_hmm_pfn_to_frame(v.pfns[i]) + 1, mrn_hmm_pfn_to_frame(v.pfns[i + 1]));
		CHECK(frame_of(rig, v.pfns[i]) + PAGE(1) / 8 == frame_of(rig, v.pfns[i + 1]));
	}
}

TEST(order_is_that_of_the_block)
{
	HMM_RIG(rig, .frames = 4096);

	for (unsigned int order = 1; order <= 9; order += 2) {
		size_t block = (size_t)1 << order, n = 3 * block + 1;
		void *at;
		char *p;

		CHECK_ERR(mrn_hmm_alloc(rig.hmm, PAGE(n), RW, order, &at), 0);
		p = at;
		view_init(&v, &rig, p, n);
		CHECK_ERR(view_fault(&v, WRITE), 0);
		expect_orders(&rig, 0, 3 * block, order);
		for (size_t k = 0; k < 3; k++)
			CHECK_EQ(mrn_hmm_pfn_to_frame(v.pfns[k * block]) % block, 0);
		fill_pages(p, n, 1);
		/* What is left at the end is no block. */
		expect_orders(&rig, 3 * block, n, 0);
		/* A part of a block says so as well. */
		v.range.start += PAGE(block / 2);
		v.range.end = v.range.start + PAGE(1);
		CHECK_ERR(view_snapshot(&v), 0);
		CHECK_EQ(hmm_pfn_to_map_order(v.pfns[0]), order);
		v.range.start = (uintptr_t)p;
		v.range.end = (uintptr_t)p + PAGE(n);
		/* One page is another's, or may not be written: no block. */
		CHECK_EQ(mrn_hmm_compact(rig.hmm, p + PAGE(block + 1), PAGE(1)), 1);
		CHECK_ERR(mrn_hmm_protect(rig.hmm, p + PAGE(2 * block), PAGE(1), RD), 0);
		CHECK_ERR(view_snapshot(&v), 0);
		expect_orders(&rig, 0, block, order);
		expect_orders(&rig, block, n, 0);
		/* Compaction joins a block again whose pages have one protection. */
		CHECK_EQ(mrn_hmm_compact(rig.hmm, p, PAGE(n)), (long)n);
		CHECK_ERR(view_snapshot(&v), 0);
		expect_orders(&rig, 0, 2 * block, order);
		expect_orders(&rig, 2 * block, n, 0);
		CHECK_ERR(mrn_hmm_protect(rig.hmm, p + PAGE(2 * block), PAGE(1), RW), 0);
		CHECK_EQ(mrn_hmm_compact(rig.hmm, p, PAGE(n)), (long)n);
		CHECK_ERR(view_fault(&v, WRITE), 0);
		expect_orders(&rig, 0, 3 * block, order);
		check_pages(p, n, 1);
		view_exit(&v);
		free_region(&rig, p);
	}
	hmm_rig_exit(&rig);
}

/* A device may map all of a block with one entry, which has the rights of the page that it asked for. */
TEST(a_page_that_may_not_be_read_is_in_no_block)
{
	HMM_RIG(rig, .frames = 256);
	void *at;
	char *p;

	CHECK_ERR(mrn_hmm_alloc(rig.hmm, PAGE(8), RW, 2, &at), 0);
	p = at;
	view_init(&v, &rig, p, 8);
	/* For reading: no page is writable, and one without any right looks like its neighbours but for that. */
	CHECK_ERR(view_fault(&v, FAULT), 0);
	expect_orders(&rig, 0, 8, 2);
	CHECK_ERR(mrn_hmm_protect(rig.hmm, p + PAGE(5), PAGE(1), PROT_NONE), 0);
	CHECK_ERR(view_snapshot(&v), 0);
	expect_orders(&rig, 0, 4, 2);
	expect_orders(&rig, 4, 8, 0);
	/* A right that none of the entries has makes no difference. */
	CHECK_ERR(mrn_hmm_protect(rig.hmm, p + PAGE(1), PAGE(1), RD), 0);
	CHECK_ERR(view_snapshot(&v), 0);
	expect_orders(&rig, 0, 4, 2);
	view_exit(&v);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

/* ------------------------------------------------------------------------------------ device pages */

TEST(device_pages_are_their_owners)
{
	HMM_RIG(rig, .frames = 256);
	char *p = region(&rig, 20, RW);
	struct hmm_test_device other;

	device_init(&device, &rig, 16);
	device_init(&other, &rig, 16);
	fill_pages(p, 20, 1);
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p, PAGE(10), NULL), 10);
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &other.dev, p + PAGE(10), PAGE(5), NULL), 5);
	CHECK_ERR(mrn_hmm_protect(rig.hmm, p, PAGE(1), RD), 0);
	forget_events(&rig);
	view_init(&v, &rig, p, 10);
	v.range.dev_private_owner = &device.dev;
	/* Its own are told, and not brought back. */
	CHECK_ERR(view_try(&v, WRITE), -EPERM);
	CHECK_ERR(view_try(&v, FAULT), 0);
	expect_none(&rig);
	for (size_t i = 0; i < 10; i++) {
		CHECK(is_there(v.pfns[i], i > 0));
		check_page(device_page(&device, v.pfns[i]), i, 1);
	}
	/* Once it may be written again, it is told so, where it is. */
	CHECK_ERR(mrn_hmm_protect(rig.hmm, p, PAGE(1), RW), 0);
	forget_events(&rig);
	CHECK_ERR(view_fault(&v, WRITE), 0);
	expect_none(&rig);
	CHECK(is_there(v.pfns[0], true));
	check_page(device_page(&device, v.pfns[0]), 0, 1);
	CHECK_EQ(device.in_use, 10);
	view_exit(&v);
	view_init(&v, &rig, p, 20);
	v.range.dev_private_owner = &device.dev;
	CHECK_ERR(view_fault(&v, FAULT), 0);
	CHECK_EQ(events(&rig), 10);
	for (size_t i = 0; i < 5; i++)
		expect_event(&rig, 2 * i, false, MMU_NOTIFY_MIGRATE, p + PAGE(10 + i), 1, &other);
	CHECK_EQ(device.in_use, 10);
	CHECK_EQ(other.in_use, 0);
	for (size_t i = 10; i < 20; i++)
		check_page(frame_of(&rig, v.pfns[i]), i, 1);
	/* Nobody's own: all of them come. */
	v.range.dev_private_owner = NULL;
	CHECK_ERR(view_fault(&v, FAULT), 0);
	CHECK_EQ(device.in_use, 0);
	for (size_t i = 0; i < 20; i++)
		check_page(frame_of(&rig, v.pfns[i]), i, 1);
	/* One that cannot come back: its reason. */
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p + PAGE(3), PAGE(1), NULL), 1);
	device.fail_to_ram = -EIO;
	CHECK_ERR(view_fault(&v, FAULT), -EIO);
	device.fail_to_ram = 0;
	CHECK_ERR(view_fault(&v, FAULT), 0);
	view_exit(&v);
	free_region(&rig, p);
	device_exit(&device, &rig);
	device_exit(&other, &rig);
	hmm_rig_exit(&rig);
}

/* -------------------------------------------------------------------------------------- collisions */

TEST(busy_is_a_collision_and_nothing_else)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 12, RW);

	fill_pages(p, 12, 1);
	view_init(&v, &rig, p + PAGE(4), 4);
	for (size_t i = 0; i < 12; i++) {
		bool inside = i >= 4 && i < 8;

		v.range.default_flags = FAULT;
		v.range.notifier_seq = mmu_range_read_begin(&v.mrn);
		CHECK_ERR(hmm_range_fault(&v.range), 0);
		CHECK_ERR(mrn_hmm_discard(rig.hmm, p + PAGE(i), PAGE(1)), 0);
		CHECK_ERR(hmm_range_fault(&v.range), inside ? -EBUSY : 0);
		/* As often as one asks with the old seq. */
		CHECK_ERR(hmm_range_fault(&v.range), inside ? -EBUSY : 0);
		CHECK_ERR(view_try(&v, FAULT), 0);
	}
	/* Invalidations without pages, too: the seq is all that counts. */
	v.range.notifier_seq = mmu_range_read_begin(&v.mrn);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p + PAGE(4), PAGE(1)), 1);
	CHECK_ERR(hmm_range_fault(&v.range), -EBUSY);
	view_exit(&v);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}
TWIN(busy_is_a_collision_and_nothing_else, no_start, BREAK(HMM_NO_START));

/* A migration of page 2 that stops in the middle. */
static struct test_gate entered, leave;

static void migrate_main(void *arg)
{
	struct hmm_rig *rig = arg;

	CHECK_EQ(mrn_hmm_migrate_to_device(rig->hmm, &device.dev, (void *)(v.range.start + PAGE(2)),
					   PAGE(1), NULL),
		 1);
}

static void hold_page(struct hmm_rig *rig, struct test_thread *t)
{
	device.entered = &entered;
	device.leave = &leave;
	test_thread(t, migrate_main, rig);
	test_gate_wait(&entered);
}

/* Who has begun before a change, and comes upon it, is told so and need not wait for its end. */
TEST(collision_is_told_at_once)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 4, RW);
	struct test_thread t;

	device_init(&device, &rig, 16);
	fill_pages(p, 4, 1);
	view_init(&v, &rig, p, 4);
	v.range.default_flags = FAULT;
	v.range.notifier_seq = mmu_range_read_begin(&v.mrn);
	hold_page(&rig, &t);
	CHECK_ERR(hmm_range_fault(&v.range), -EBUSY);
	test_gate_open(&leave);
	test_join(&t);
	device.entered = NULL;
	CHECK_ERR(view_fault(&v, FAULT), 0);
	check_page(frame_of(&rig, v.pfns[2]), 2, 1);
	view_exit(&v);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}
TWIN(collision_is_told_at_once, no_start, BREAK(HMM_NO_START), .timeout_s = 3,
     .accept_timeout = true);

/* Who does not want to hear of it waits, and gets what is there then. */
static struct test_gate answered;

static void fault_main(void *arg)
{
	/* As if it had begun before. */
	w.range.notifier_seq = w.mrn.invalidate_seq;
	CHECK_ERR(hmm_range_fault(&w.range), 0);
	test_gate_open(&answered);
}

TEST(page_that_is_being_changed_is_waited_for)
{
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 4, RW);
	struct test_thread t, f;

	device_init(&device, &rig, 16);
	fill_pages(p, 4, 1);
	view_init(&v, &rig, p, 4);
	view_init(&w, &rig, p, 4);
	w.mrn.events = 1u << MMU_NOTIFY_UNMAP;
	w.range.dev_private_owner = &device.dev;
	hold_page(&rig, &t);
	test_thread(&f, fault_main, NULL);
	CHECK(!test_gate_wait_ms(&answered, 20));
	test_gate_open(&leave);
	test_join(&f);
	test_join(&t);
	device.entered = NULL;
	CHECK_EQ(w.calls, 0);
	check_page(device_page(&device, w.pfns[2]), 2, 1);
	view_exit(&v);
	view_exit(&w);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}
TWIN(page_that_is_being_changed_is_waited_for, no_page_locks, BREAK(HMM_LOCK));

/* ---------------------------------------------------------------------------------------- deadlines */

static struct timespec in_ms(unsigned int ms)
{
	uint64_t at = test_now_ns() + ms * UINT64_C(1000000);

	return (struct timespec){(time_t)(at / 1000000000), (long)(at % 1000000000)};
}

TEST(until_has_an_end)
{
	struct timespec never = {.tv_nsec = -1}, soon;
	HMM_RIG(rig, .frames = 64);
	char *p = region(&rig, 4, RW);
	struct test_thread t;

	device_init(&device, &rig, 16);
	fill_pages(p, 4, 1);
	view_init(&v, &rig, p, 4);
	v.range.default_flags = FAULT;
	CHECK_ERR(mrn_hmm_range_fault_until(&v.range, &never), -EINVAL);
	v.range.pfn_flags_mask = FAULT;
	CHECK_ERR(mrn_hmm_range_fault_until(&v.range, NULL), -EINVAL);
	v.range.pfn_flags_mask = 0;
	CHECK_ERR(mrn_hmm_range_fault_until(&v.range, NULL), 0);
	pthread_mutex_lock(&v.lock);
	CHECK(!mmu_range_read_retry(&v.mrn, v.range.notifier_seq));
	pthread_mutex_unlock(&v.lock);
	/* A change that does not end. */
	hold_page(&rig, &t);
	soon = in_ms(20);
	CHECK_ERR(mrn_hmm_range_fault_until(&v.range, &soon), -ETIMEDOUT);
	CHECK(test_now_ns() >= (uint64_t)soon.tv_sec * 1000000000 + (uint64_t)soon.tv_nsec);
	test_gate_open(&leave);
	soon = in_ms(20000);
	CHECK_ERR(mrn_hmm_range_fault_until(&v.range, &soon), 0);
	test_join(&t);
	device.entered = NULL;
	/* Collisions of its own making, one for each page that it takes back, are no error. */
	CHECK_EQ(mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p, PAGE(4), NULL), 4);
	CHECK_ERR(mrn_hmm_range_fault_until(&v.range, NULL), 0);
	for (size_t i = 0; i < 4; i++)
		check_page(frame_of(&rig, v.pfns[i]), i, 1);
	/* Other errors come through. */
	CHECK_ERR(mrn_hmm_unmap(rig.hmm, p, PAGE(1)), 0);
	CHECK_ERR(mrn_hmm_range_fault_until(&v.range, NULL), -EFAULT);
	view_exit(&v);
	CHECK_ERR(mrn_hmm_range_fault_until(&v.range, NULL), -EINVAL);
	free_region(&rig, p);
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

/* ------------------------------------------------------------------------------------- out of reach */

TEST(no_frames_and_no_file)
{
	HMM_RIG(rig, .frames = 16);
	char *p = region(&rig, 16, RW), *q = region(&rig, 16, RW);

	fill_pages(p, 16, 1);
	view_init(&v, &rig, q, 16);
	CHECK_ERR(view_try(&v, FAULT), -ENOMEM);
	CHECK_EQ(mrn_hmm_reclaim(rig.hmm, p, PAGE(8)), 8);
	CHECK_ERR(view_try(&v, FAULT), -ENOMEM);
	v.range.end = v.range.start + PAGE(8);
	CHECK_ERR(view_try(&v, FAULT), 0);
	view_exit(&v);
	/* What was in the file is there no more. */
	CHECK_EQ(ftruncate(rig.backing, (off_t)PAGE(4)), 0);
	free_region(&rig, q);
	view_init(&v, &rig, p, 16);
	CHECK_ERR(view_try(&v, FAULT), -EIO);
	v.range.end = v.range.start + PAGE(4);
	CHECK_ERR(view_try(&v, FAULT), 0);
	for (size_t i = 0; i < 4; i++)
		check_page(frame_of(&rig, v.pfns[i]), i, 1);
	catch_signals();
	CHECK_EQ(try_read(p + PAGE(5)), SIGBUS);
	CHECK_ERR(mrn_hmm_pin(rig.hmm, p, PAGE(16), false, (uint64_t *)v.pfns), -EIO);
	for (size_t i = 8; i < 16; i++)
		check_page(p + PAGE(i), i, 1);
	view_exit(&v);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}

/* ------------------------------------------------------------------------------------ removed meanwhile */

static bool over;

static void come_and_go(void *arg)
{
	struct hmm_rig *rig = arg;
	uintptr_t start = v.range.start, length = v.range.end - start;

	for (int i = 0; i < ROUNDS(20000); i++) {
		CHECK_ERR(mmu_range_notifier_remove(&v.mrn), 0);
		CHECK_ERR(mmu_range_notifier_insert(&v.mrn, start, length, mrn_hmm_mm(rig->hmm)),
			  0);
	}
	STORE(&over, true);
}

/* Another thread's removal is no answer, and nothing worse. */
TEST(notifier_that_is_removed_meanwhile)
{
	HMM_RIG(rig, .frames = 16);
	char *p = region(&rig, 4, RW);
	struct test_thread t;

	fill_pages(p, 4, 1);
	view_init(&v, &rig, p, 4);
	v.range.default_flags = FAULT;
	over = false;
	test_thread(&t, come_and_go, &rig);
	while (!LOAD(&over)) {
		int r = mrn_range_read_begin_until(&v.mrn, NULL, &v.range.notifier_seq);

		CHECK(r == 0 || r == -ENOENT);
		r = hmm_range_fault(&v.range);
		CHECK_MSG(r == 0 || r == -EBUSY || r == -EINVAL, "%d", r);
	}
	test_join(&t);
	view_exit(&v);
	free_region(&rig, p);
	hmm_rig_exit(&rig);
}
