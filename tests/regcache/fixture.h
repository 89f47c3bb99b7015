/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the cache on a managed mm share. Invalidations are announced by hand, and addresses
 * are numbers: pages count from PAGE(1).
 */
#ifndef TESTS_REGCACHE_FIXTURE_H
#define TESTS_REGCACHE_FIXTURE_H

#include <errno.h>
#include <mrn/mrn.h>
#include <string.h>

#include "core/mm.h"
#include "os/pages.h"
#include "tests/fixture.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"
#include "tests/regcache/stub_device.h"

/* Fewer rounds where every access costs tens of times as much. */
#define ROUNDS(n) (TEST_TSAN ? (n) / 16 + 1 : TEST_ASAN ? (n) / 4 + 1 : (n))

#define RD MRN_ACCESS_READ
#define WR MRN_ACCESS_WRITE

struct rig {
	struct mrn_mm *mm;
	struct mrn_regcache *cache;
	struct stub_device dev;
};

/* A cache on an mm of its own. config: what differs from the defaults. */
HELPER void rig_init(struct rig *rig, struct mrn_regcache_opts config)
{
	stub_init(&rig->dev);
	CHECK_ERR(mrn_mm_create(&rig->mm), 0);
	config.size = sizeof(config);
	config.mm = rig->mm;
	config.ops = &stub_ops;
	config.ctx = &rig->dev;
	CHECK_ERR(mrn_regcache_create(&config, &rig->cache), 0);
}

#define RIG(name, ...)   \
	struct rig name; \
	rig_init(&name, (struct mrn_regcache_opts){__VA_ARGS__})

HELPER struct mrn_regcache_stats stats_of(struct mrn_regcache *cache)
{
	struct mrn_regcache_stats s;

	CHECK_ERR(mrn_regcache_get_stats(cache, &s, sizeof(s)), 0);
	return s;
}

/* The cache's figures agree with each other and with the device's. Nobody is in the cache. */
HELPER void check_stats(struct mrn_regcache *cache, struct stub_device *dev)
{
	struct mrn_regcache_stats s = stats_of(cache);
	uint64_t by_cause = 0;

	CHECK_EQ(s.registrations, dev->registered);
	CHECK_EQ(s.deregistrations, dev->deregistered);
	CHECK_EQ(s.registrations - s.deregistrations, s.entries);
	CHECK_EQ(s.entries, dev->live);
	CHECK_EQ(s.bytes_pinned, dev->bytes);
	CHECK(s.entries_in_use <= s.entries);
	for (int i = 0; i < MRN_NR_CAUSES; i++)
		by_cause += s.invalidations_by[i];
	CHECK_EQ(s.invalidations, by_cause);
}

/* Everything has been put: the books balance, and all of it goes away. */
HELPER void rig_exit(struct rig *rig)
{
	check_stats(rig->cache, &rig->dev);
	CHECK_EQ(stats_of(rig->cache).entries_in_use, 0);
	CHECK_ERR(mrn_regcache_destroy(rig->cache), 0);
	CHECK(!rig->mm->index.root);
	CHECK_EQ(__atomic_load_n(&rig->mm->state, __ATOMIC_ACQUIRE), MRN_MM_IDLE);
	CHECK_EQ(__atomic_load_n(&rig->mm->home.refs, __ATOMIC_ACQUIRE), 1);
	CHECK_ERR(mrn_mm_destroy(rig->mm), 0);
	stub_exit(&rig->dev);
}

/* Pages [from, to). */
HELPER int try_get(struct rig *rig, uintptr_t from, uintptr_t to, unsigned int access,
		   const struct mrn_regcache_entry **out)
{
	*out = NULL;
	return mrn_regcache_get(rig->cache, (void *)PAGE(from), PAGE(to) - PAGE(from), access, out);
}

/* Checks what a get has returned, and begins to use it. */
HELPER void accept_entry(struct stub_device *dev, const struct mrn_regcache_entry *e,
			 uintptr_t addr, size_t length, unsigned int access)
{
	CHECK(e);
	CHECK(e->addr <= addr && addr + length <= e->addr + e->length);
	CHECK_EQ(access & ~e->access, 0);
	stub_use(dev, e);
}

HELPER const struct mrn_regcache_entry *get(struct rig *rig, uintptr_t from, uintptr_t to,
					    unsigned int access)
{
	const struct mrn_regcache_entry *e;

	CHECK_ERR(try_get(rig, from, to, access, &e), 0);
	accept_entry(&rig->dev, e, PAGE(from), PAGE(to) - PAGE(from), access);
	return e;
}

HELPER void put(struct rig *rig, const struct mrn_regcache_entry *e)
{
	stub_unuse(&rig->dev, e);
	CHECK_ERR(mrn_regcache_put(e), 0);
}

/* Gets and puts; returns which registration it was. */
HELPER uint64_t touch(struct rig *rig, uintptr_t from, uintptr_t to, unsigned int access)
{
	const struct mrn_regcache_entry *e = get(rig, from, to, access);
	uint64_t serial = stub_reg(e)->serial;

	put(rig, e);
	return serial;
}

HELPER void invalidate(struct rig *rig, uintptr_t from, uintptr_t to)
{
	struct mmu_notifier_range r = pages(rig->mm, from, to);

	start(&r);
	end(&r);
}

/* Is [from, to) registered with the device? */
HELPER bool registered(struct rig *rig, uintptr_t from, uintptr_t to)
{
	return stub_has(&rig->dev, PAGE(from), PAGE(to) - PAGE(from));
}

#endif
