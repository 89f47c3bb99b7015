/* SPDX-License-Identifier: BSD-3-Clause */
/* What each function of the cache promises, on its own and in one thread. */
#include "os/kernel.h"
#include "tests/harness/child.h"
#include "tests/regcache/fixture.h"

/* ------------------------------------------------------------------------------------ bad input */

static int create_with(struct mrn_regcache_opts config)
{
	struct mrn_regcache *cache = NULL;
	int r = mrn_regcache_create(&config, &cache);

	if (!r)
		CHECK_ERR(mrn_regcache_destroy(cache), 0);
	else
		CHECK(!cache);
	return r;
}

TEST(create_bad_input)
{
	struct mrn_regcache_ops no_deregister = stub_ops;
	struct mrn_regcache_opts good = {.size = sizeof(good), .ops = &stub_ops}, bad;
	struct mrn_regcache *cache;
	struct stub_device dev;
	char why[128] = "";

	stub_init(&dev);
	CHECK_ERR(mrn_mm_create(&good.mm), 0);
	good.ctx = &dev;
	CHECK_ERR(create_with(good), 0);
	CHECK_ERR(mrn_regcache_create(NULL, &cache), -EINVAL);
	CHECK_ERR(mrn_regcache_create(&good, NULL), -EINVAL);
	bad = good, bad.size--;
	CHECK_ERR(create_with(bad), -EINVAL);
	bad = good, bad.size = 0;
	CHECK_ERR(create_with(bad), -EINVAL);
	bad = good, bad.mm = NULL;
	CHECK_ERR(create_with(bad), -EINVAL);
	bad = good, bad.ops = NULL;
	CHECK_ERR(create_with(bad), -EINVAL);
	no_deregister.deregister_range = NULL;
	bad = good, bad.ops = &no_deregister;
	CHECK_ERR(create_with(bad), -EINVAL);
	no_deregister = stub_ops;
	no_deregister.register_range = NULL;
	CHECK_ERR(create_with(bad), -EINVAL);
	bad = good, bad.flags = 1u << 31;
	CHECK_ERR(create_with(bad), -EINVAL);
	bad = good, bad.max_entries = UINT32_MAX;
	CHECK_ERR(create_with(bad), -EINVAL);
	/* Nobody watches this process: a cache on its memory would go stale. */
	bad = good, bad.mm = mrn_mm_self(), bad.why = why, bad.why_size = sizeof(why);
	CHECK_ERR(create_with(bad), -EINVAL);
	CHECK_MSG(strstr(why, "source"), "why: %s", why);
	CHECK_ERR(mrn_mm_destroy(good.mm), 0);
	stub_exit(&dev);
}

TEST(get_bad_input)
{
	RIG(rig, .max_entries = 4);
	const struct mrn_regcache_entry *e = NULL;
	void *addr = (void *)PAGE(10);
	struct mrn_regcache_stats s;

	/* Cold, and then warm: a hit must refuse the same. */
	for (int warm = 0; warm < 2; warm++) {
		CHECK_ERR(mrn_regcache_get(NULL, addr, 1, RD, &e), -EINVAL);
		CHECK_ERR(mrn_regcache_get(rig.cache, addr, 1, RD, NULL), -EINVAL);
		CHECK_ERR(mrn_regcache_get(rig.cache, addr, 0, RD, &e), -EINVAL);
		CHECK_ERR(mrn_regcache_get(rig.cache, addr, 1, 0, &e), -EINVAL);
		CHECK_ERR(mrn_regcache_get(rig.cache, addr, 1, 4, &e), -EINVAL);
		CHECK_ERR(mrn_regcache_get(rig.cache, addr, 1, RD | 1u << 31, &e), -EINVAL);
		CHECK_ERR(mrn_regcache_get(rig.cache, addr, SIZE_MAX, RD, &e), -EOVERFLOW);
		CHECK_ERR(mrn_regcache_get(rig.cache, addr, -PAGE(10), RD, &e), -EOVERFLOW);
		CHECK_ERR(mrn_regcache_get(rig.cache, (void *)-PAGE(1), PAGE(1), RD, &e),
			  -EOVERFLOW);
		CHECK_ERR(mrn_regcache_get(rig.cache, (void *)(UINTPTR_MAX - 1), 1, RD, &e),
			  -EOVERFLOW);
		CHECK(!e);
		s = stats_of(rig.cache);
		CHECK_EQ(s.entries_in_use, 0);
		CHECK_EQ(s.entries, warm);
		touch(&rig, 10, 12, RD | WR);
	}
	rig_exit(&rig);
}

TEST(other_bad_input)
{
	RIG(rig, .max_entries = 4);
	struct mrn_regcache_stats s;

	CHECK_ERR(mrn_regcache_put(NULL), -EINVAL);
	CHECK_ERR(mrn_regcache_reap(NULL), -EINVAL);
	CHECK_ERR(mrn_regcache_flush(NULL), -EINVAL);
	CHECK_ERR(mrn_regcache_destroy(NULL), -EINVAL);
	CHECK_ERR(mrn_regcache_get_stats(NULL, &s, sizeof(s)), -EINVAL);
	CHECK_ERR(mrn_regcache_get_stats(rig.cache, NULL, 1), -EINVAL);
	rig_exit(&rig);
}

static void put_too_often(void *arg)
{
	RIG(rig, .max_entries = 4);
	const struct mrn_regcache_entry *e = get(&rig, 10, 11, RD);

	(void)arg;
	put(&rig, e);
	mrn_regcache_put(e);
}

TEST(put_twice)
{
	RIG(rig, .max_entries = 4);
	const struct mrn_regcache_entry *e = get(&rig, 10, 11, RD);

	CHECK(aborts(put_too_often, NULL,
		     "mrn: mrn_regcache_put was called more often than mrn_regcache_get\n"));
	BREAK(MISUSE_CHECKS);
	put(&rig, e);
	CHECK_ERR(mrn_regcache_put(e), -EINVAL);
	CHECK_EQ(touch(&rig, 10, 11, RD), 1);
	e = get(&rig, 10, 11, RD);
	invalidate(&rig, 10, 11);
	put(&rig, e);
	CHECK_ERR(mrn_regcache_put(e), -EINVAL);
	rig_exit(&rig);
}

TEST(destroy_in_use)
{
	RIG(rig, .max_entries = 4);
	const struct mrn_regcache_entry *e = get(&rig, 10, 11, RD);

	touch(&rig, 20, 21, RD);
	CHECK_ERR(mrn_regcache_destroy(rig.cache), -EBUSY);
	CHECK(registered(&rig, 10, 11));
	/* Refused means that nothing has happened. */
	CHECK_EQ(touch(&rig, 10, 11, RD), 1);
	CHECK_EQ(touch(&rig, 20, 21, RD), 2);
	invalidate(&rig, 10, 11);
	CHECK_ERR(mrn_regcache_destroy(rig.cache), -EBUSY);
	put(&rig, e);
	rig_exit(&rig);
}

TEST(destroy_after_mm)
{
	RIG(rig, .max_entries = 4);
	const struct mrn_regcache_entry *e;

	touch(&rig, 10, 11, RD);
	CHECK_ERR(mrn_mm_destroy(rig.mm), 0);
	CHECK(try_get(&rig, 10, 11, RD, &e) < 0);
	CHECK(try_get(&rig, 20, 21, RD, &e) < 0);
	check_stats(rig.cache, &rig.dev);
	CHECK_ERR(mrn_regcache_destroy(rig.cache), 0);
	stub_exit(&rig.dev);
}

/* ------------------------------------------------------------------------------ hits and misses */

TEST(entry_is_whole_pages)
{
	RIG(rig, .max_entries = 4);
	const struct mrn_regcache_entry *e;
	char *in = (char *)PAGE(10) + 100;

	CHECK_ERR(mrn_regcache_get(rig.cache, in, PAGE(1), RD, &e), 0);
	CHECK_EQ(e->addr, PAGE(10));
	CHECK_EQ(e->length, PAGE(2));
	CHECK_EQ(e->access, RD);
	CHECK_ERR(mrn_regcache_put(e), 0);
	rig_exit(&rig);
}

TEST(sub_range_hits)
{
	RIG(rig, .max_entries = 4);
	const struct mrn_regcache_entry *e, *whole;
	struct mrn_regcache_stats s;

	whole = get(&rig, 10, 20, RD | WR);
	for (unsigned int i = 10; i < 20; i++)
		CHECK_EQ(touch(&rig, i, i + 1, RD), 1);
	CHECK_EQ(touch(&rig, 12, 20, WR), 1);
	CHECK_ERR(mrn_regcache_get(rig.cache, (char *)PAGE(20) - 1, 1, RD, &e), 0);
	CHECK(e == whole);
	CHECK_ERR(mrn_regcache_put(e), 0);
	s = stats_of(rig.cache);
	CHECK_EQ(s.hits, 12);
	CHECK_EQ(s.misses, 1);
	/* A byte more is another registration, beside the first. */
	CHECK_ERR(mrn_regcache_get(rig.cache, (char *)PAGE(20) - 1, 2, RD, &e), 0);
	CHECK_EQ(e->addr, PAGE(19));
	CHECK_EQ(e->length, PAGE(2));
	CHECK_ERR(mrn_regcache_put(e), 0);
	put(&rig, whole);
	CHECK_EQ(rig.dev.registered, 2);
	rig_exit(&rig);
}

TEST(access_upgrade)
{
	RIG(rig, .max_entries = 8);
	uint64_t rd = touch(&rig, 10, 12, RD), wr, both;

	wr = touch(&rig, 10, 12, WR);
	CHECK_NE(rd, wr);
	both = touch(&rig, 10, 12, RD | WR);
	CHECK(both != rd && both != wr);
	/* Each of them is still good for what it was made for, and nothing else is made. */
	touch(&rig, 10, 12, RD);
	touch(&rig, 10, 12, WR);
	CHECK_EQ(touch(&rig, 10, 12, RD | WR), both);
	CHECK_EQ(rig.dev.registered, 3);
	rig_exit(&rig);
}

TEST(reap_and_flush)
{
	RIG(rig, .max_entries = 8);
	const struct mrn_regcache_entry *held = get(&rig, 10, 11, RD);

	touch(&rig, 20, 21, RD);
	touch(&rig, 30, 31, RD);
	CHECK_ERR(mrn_regcache_reap(rig.cache), 0);
	CHECK_EQ(rig.dev.deregistered, 0);
	invalidate(&rig, 20, 21);
	CHECK(registered(&rig, 20, 21));
	CHECK_ERR(mrn_regcache_reap(rig.cache), 0);
	CHECK(!registered(&rig, 20, 21));
	CHECK_EQ(rig.dev.deregistered, 1);

	CHECK_ERR(mrn_regcache_flush(rig.cache), 0);
	CHECK(!registered(&rig, 30, 31));
	CHECK(registered(&rig, 10, 11));
	/* The one in use is not handed out again, and is undone by its put. */
	CHECK_NE(touch(&rig, 10, 11, RD), stub_reg(held)->serial);
	put(&rig, held);
	CHECK_EQ(rig.dev.live, 1);
	rig_exit(&rig);
}

TEST(statistics_add_up)
{
	RIG(rig, .max_entries = 16, .max_bytes = 40 * mrn_page_size());
	struct mrn_regcache_stats s;
	const struct mrn_regcache_entry *e;
	unsigned int gets = 0, failed = 0;
	struct test_rand r;

	test_rand_init(&r, 0);
	for (unsigned int i = 0; i < 5000; i++) {
		uintptr_t page = 100 + test_rand_below(&r, 60);
		unsigned int n = 1 + (unsigned int)test_rand_below(&r, 4);

		switch (test_rand_below(&r, 10)) {
		case 0:
			invalidate(&rig, page, page + n);
			break;
		case 1:
			gets++, failed++;
			CHECK_ERR(try_get(&rig, page, page + 50, RD, &e), -ENOSPC);
			break;
		case 2:
			CHECK_ERR(mrn_regcache_reap(rig.cache), 0);
			break;
		default:
			gets++;
			touch(&rig, page, page + n, 1 + (unsigned int)test_rand_below(&r, 3));
		}
		check_stats(rig.cache, &rig.dev);
	}
	s = stats_of(rig.cache);
	CHECK_EQ(s.hits + s.misses, gets);
	CHECK_EQ(s.failures, failed);
	CHECK_EQ(s.retries, 0);
	CHECK_EQ(s.registrations, s.misses - failed);
	CHECK_EQ(s.use_once, 0);
	CHECK_EQ(s.invalidations_by[MRN_CAUSE_UNKNOWN], s.invalidations);
	CHECK(s.evictions && s.hits && s.invalidations);
	NOTE("gets %u hits %llu evictions %llu invalidations %llu", gets,
	     (unsigned long long)s.hits, (unsigned long long)s.evictions,
	     (unsigned long long)s.invalidations);
	rig_exit(&rig);
}

/* -------------------------------------------------------------------------------- invalidations */

TEST(ucx_rcache_in_use_survives)
{
	RIG(rig, .max_entries = 4);
	const struct mrn_regcache_entry *a = get(&rig, 10, 12, RD), *b = get(&rig, 10, 12, RD);

	CHECK(a == b);
	invalidate(&rig, 11, 12);
	CHECK(registered(&rig, 10, 12));
	CHECK_EQ(touch(&rig, 10, 12, RD), 2);
	put(&rig, a);
	CHECK_EQ(rig.dev.deregistered, 0);
	put(&rig, b);
	CHECK_EQ(rig.dev.deregistered, 1);
	CHECK_EQ(touch(&rig, 10, 12, RD), 2);
	rig_exit(&rig);
}

TWIN(ucx_rcache_in_use_survives, no_references, BREAK(CACHE_REFS));

/* Put and invalidate: done once, after the last put, however often and in whichever order. */
TEST(ucx_rcache_put_and_invalidate_once)
{
	RIG(rig, .max_entries = 4);

	for (unsigned int users = 1; users < 5; users++)
		for (unsigned int when = 0; when <= users; when++) {
			const struct mrn_regcache_entry *e = NULL;
			uint64_t before = rig.dev.deregistered;

			for (unsigned int i = 0; i < users; i++)
				e = get(&rig, 10, 11, RD);
			for (unsigned int i = 0; i < users; i++) {
				if (i == when) {
					invalidate(&rig, 10, 11);
					invalidate(&rig, 10, 11);
				}
				CHECK_EQ(rig.dev.deregistered, before);
				put(&rig, e);
			}
			if (when == users)
				invalidate(&rig, 10, 11);
			CHECK_ERR(mrn_regcache_reap(rig.cache), 0);
			CHECK_EQ(rig.dev.deregistered, before + 1);
		}
	CHECK_EQ(stats_of(rig.cache).invalidations, rig.dev.registered);
	rig_exit(&rig);
}

/* Each entry that overlaps is told once, and the others not at all. */
TEST(kdreg2_overlapping_ranges_fire_once)
{
	RIG(rig, .max_entries = 16);

	touch(&rig, 10, 14, RD);
	touch(&rig, 12, 16, RD);
	touch(&rig, 13, 14, WR);
	touch(&rig, 10, 20, RD);
	touch(&rig, 20, 21, RD);
	CHECK_EQ(rig.dev.live, 5);
	invalidate(&rig, 13, 14);
	CHECK_EQ(stats_of(rig.cache).invalidations, 4);
	invalidate(&rig, 13, 14);
	CHECK_EQ(stats_of(rig.cache).invalidations, 4);
	CHECK_ERR(mrn_regcache_reap(rig.cache), 0);
	CHECK_EQ(rig.dev.deregistered, 4);
	CHECK(registered(&rig, 20, 21));
	rig_exit(&rig);
}

static bool ignore(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		   uint64_t cur_seq)
{
	mmu_range_notifier_update_seq(mrn, cur_seq);
	return true;
}

/* Entries are found through the mm's index, where there are other caches' and other consumers' notifiers as well. */
TEST(entries_among_others_notifiers)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = ignore};
	RIG(rig, .max_entries = 4);
	struct rig other = {.mm = rig.mm};
	struct mrn_regcache_opts opts = {.size = sizeof(opts),
					 .mm = rig.mm,
					 .ops = &stub_ops,
					 .ctx = &other.dev};
	struct mmu_range_notifier mrn[40] = {0};

	stub_init(&other.dev);
	CHECK_ERR(mrn_regcache_create(&opts, &other.cache), 0);
	for (unsigned int i = 0; i < 40; i++) {
		mrn[i].ops = &ops;
		CHECK_ERR(mmu_range_notifier_insert(&mrn[i], PAGE(10), PAGE(14) - PAGE(10), rig.mm),
			  0);
	}
	touch(&other, 10, 14, RD);
	CHECK_EQ(touch(&rig, 10, 14, RD), 1);
	/* Pages without a hint. */
	CHECK_EQ(touch(&rig, 12, 13, RD), 1);
	CHECK_EQ(touch(&other, 13, 14, RD), 1);
	CHECK_EQ(rig.dev.registered, 1);
	CHECK_EQ(other.dev.registered, 1);
	/* Neither is what the other cache alone has. */
	touch(&other, 20, 24, RD);
	CHECK_EQ(touch(&rig, 22, 23, RD), 2);
	for (unsigned int i = 0; i < 40; i++)
		CHECK_ERR(mmu_range_notifier_remove(&mrn[i]), 0);
	CHECK_ERR(mrn_regcache_destroy(other.cache), 0);
	stub_exit(&other.dev);
	rig_exit(&rig);
}
TWIN(entries_among_others_notifiers, takes_anothers, BREAK(CACHE_OWN));

TEST(kdreg2_unmonitored_range_fires_none)
{
	RIG(rig, .max_entries = 16);

	touch(&rig, 10, 14, RD);
	invalidate(&rig, 14, 20);
	invalidate(&rig, 9, 10);
	CHECK_EQ(stats_of(rig.cache).invalidations, 0);
	/* No longer registered, no longer told. */
	CHECK_ERR(mrn_regcache_flush(rig.cache), 0);
	invalidate(&rig, 10, 14);
	CHECK_EQ(stats_of(rig.cache).invalidations, 0);
	CHECK(!rig.mm->index.root);
	rig_exit(&rig);
}

TEST(kdreg2_one_byte_overlap)
{
	static const int at[] = {-1, 0};

	for (unsigned int i = 0; i < 2; i++) {
		RIG(rig, .max_entries = 16);
		struct mmu_notifier_range r = pages(rig.mm, 10, 14);

		touch(&rig, 10, 14, RD);
		/* Its last byte, or its first; and beside it, none. */
		r.start = PAGE(i ? 10 : 14) + at[i];
		r.end = r.start + 1;
		start(&r);
		end(&r);
		CHECK_EQ(stats_of(rig.cache).invalidations, 1);
		touch(&rig, 10, 14, RD);
		r.start += i ? -1 : 1;
		r.end = r.start + 1;
		start(&r);
		end(&r);
		CHECK_EQ(stats_of(rig.cache).invalidations, 1);
		rig_exit(&rig);
	}
}

TEST(every_cause_is_counted)
{
	RIG(rig, .max_entries = 16);
	struct mrn_regcache_stats s;

	for (int cause = 0; cause < MRN_NR_CAUSES; cause++) {
		struct mmu_notifier_range r = pages(rig.mm, 10, 11);

		touch(&rig, 10, 11, RD);
		r.cause = (enum mrn_cause)cause;
		start(&r);
		end(&r);
	}
	s = stats_of(rig.cache);
	/* Pinned pages stay the parent's. */
	for (int cause = 0; cause < MRN_NR_CAUSES; cause++)
		CHECK_EQ(s.invalidations_by[cause],
			 cause != MRN_CAUSE_FORK || !mrn_kernel_is_at_least(5, 12));
	rig_exit(&rig);
}

TEST(a_fork_counts_where_it_is_needed)
{
	RIG(rig, .max_entries = 16, .need = MRN_CAUSE_BIT(MRN_CAUSE_FORK));
	struct mmu_notifier_range r = pages(rig.mm, 10, 11);

	touch(&rig, 10, 11, RD);
	r.cause = MRN_CAUSE_FORK;
	start(&r);
	end(&r);
	CHECK_EQ(stats_of(rig.cache).invalidations, 1);
	rig_exit(&rig);
}

/* Nothing in the callback waits, so one that may not wait is no different. */
TEST(nonblocking_invalidation)
{
	RIG(rig, .max_entries = 4);
	struct mmu_notifier_range r = pages(rig.mm, 10, 11);
	const struct mrn_regcache_entry *e = get(&rig, 10, 11, RD);

	CHECK_ERR(mmu_notifier_invalidate_range_start_nonblock(&r), 0);
	end(&r);
	CHECK_EQ(touch(&rig, 10, 11, RD), 2);
	put(&rig, e);
	rig_exit(&rig);
}
