/* SPDX-License-Identifier: BSD-3-Clause */
/* When mrn can be libfabric's memory monitor, and what it says when it cannot. */
#include <errno.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_ext.h>
#include <stdlib.h>
#include <string.h>

#include "tests/libfabric/fixture.h"
#include "tests/verbs/device/device.h"

static char why[512];

static int install(unsigned int max_ranges)
{
	struct mrn_libfabric_opts opts = {
		.size = sizeof(opts),
		.max_ranges = max_ranges,
		.why = why,
		.why_size = sizeof(why),
	};

	*why = 0;
	return mrn_libfabric_install(&opts);
}

/* Another's monitor. */
static int other_start(struct fid_mem_monitor *monitor)
{
	return 0;
}

static void other_stop(struct fid_mem_monitor *monitor)
{
}

static int other_subscribe(struct fid_mem_monitor *monitor, const void *addr, size_t length)
{
	return -FI_ENOSYS;
}

static void other_unsubscribe(struct fid_mem_monitor *monitor, const void *addr, size_t length)
{
}

static bool other_valid(struct fid_mem_monitor *monitor, const void *addr, size_t length)
{
	return false;
}

static struct fi_ops_mem_monitor other_ops = {
	.size = sizeof(other_ops),
	.start = other_start,
	.stop = other_stop,
	.subscribe = other_subscribe,
	.unsubscribe = other_unsubscribe,
	.valid = other_valid,
};

static struct fid_mem_monitor other = {
	.fid = {.fclass = FI_CLASS_MEM_MONITOR},
	.export_ops = &other_ops,
};

static int import_other(void)
{
	struct fid *cache;
	int r = fi_open(FI_VERSION(1, 14), "mr_cache", NULL, 0, 0, &cache, NULL);

	CHECK_ERR(r, 0);
	return fi_import_fid(cache, &other.fid, 0);
}

TEST(once)
{
	struct mrn_libfabric_stats stats;

	CHECK_ERR(mrn_libfabric_get_stats(&stats, sizeof(stats)), -ENOTCONN);
	CHECK(!mrn_libfabric_source());
	mrn_libfabric_begin(why, sizeof(why));
	fixture_install(0, 0);
	CHECK(mrn_libfabric_source());
	CHECK_ERR(mrn_libfabric_get_stats(&stats, 0), -EINVAL);
	CHECK_EQ(fixture_stats().begun, 0);
	CHECK_ERR(install(0), -EALREADY);
	CHECK_MSG(strstr(why, "already"), "%s", why);
	CHECK_ERR(import_other(), -FI_EBUSY);
}

static void install_meanwhile(void)
{
	atomic_store(&mrn_check_fabric_checked_hook, NULL);
	CHECK_ERR(install(0), -EBUSY);
	CHECK_MSG(strstr(why, "another thread"), "%s", why);
}

/* The one that comes second takes nothing back of the first's. */
TEST(one_at_a_time)
{
	struct fid_domain *domain;
	char *p;

	atomic_store(&mrn_check_fabric_checked_hook, install_meanwhile);
	fixture_install(0, 0);
	CHECK_ERR(install(0), -EALREADY);
	domain = fixture_domain();
	p = fixture_map(NULL, 'A');
	CHECK(fixture_is_kept(domain, p));
}
TWIN(one_at_a_time, no_look, BREAK(FABRIC_TURN));

TEST(refuses_wrong_options)
{
	struct mrn_libfabric_opts opts = {.size = 1};
	char later[sizeof(opts) + 8] = {0};

	CHECK_ERR(mrn_libfabric_install(&opts), -EINVAL);
	((struct mrn_libfabric_opts *)later)->size = sizeof(later);
	later[sizeof(opts)] = 1;
	CHECK_ERR(mrn_libfabric_install((struct mrn_libfabric_opts *)later), -E2BIG);
	CHECK_ERR(install(65537), -EINVAL);
	CHECK_MSG(strstr(why, "65536"), "%s", why);
	CHECK(!mrn_libfabric_source());
}

TEST(refuses_when_another_monitor_is_chosen)
{
	setenv("FI_MR_CACHE_MONITOR", "memhooks", 1);
	CHECK_ERR(install(0), -EBUSY);
	CHECK_MSG(strstr(why, "FI_MR_CACHE_MONITOR is set to \"memhooks\""), "%s", why);
	CHECK(!mrn_libfabric_source());
	/* Nothing of ours is in libfabric. */
	CHECK_ERR(import_other(), 0);
}

TEST(refuses_when_another_monitor_is_there)
{
	CHECK_ERR(import_other(), 0);
	CHECK_ERR(install(0), -EBUSY);
	CHECK_MSG(strstr(why, "has a memory monitor already"), "%s", why);
	CHECK(!mrn_libfabric_source());
}

/*
 * The one test here in which libfabric starts a monitor of its own, memhooks. That writes over libc's madvise, which an ending
 * thread calls when ThreadSanitizer has forgotten the thread, and takes a lock there by ThreadSanitizer's function.
 */
TEST(refuses_when_a_domain_has_a_cache)
{
	if (TEST_TSAN)
		SKIP("libfabric's memhooks and ThreadSanitizer do not go together");
	fixture_domain();
	CHECK_ERR(install(0), -EBUSY);
	CHECK_MSG(strstr(why, "before the first domain"), "%s", why);
	CHECK(!mrn_libfabric_source());
}

/* Where fork may take pinned pages away from the parent, or libibverbs keeps a tree of what is registered. */
TEST(keeps_nothing_when_fork_is_unsafe)
{
	struct fid_domain *domain;
	char *p;

	verbs_device_opts.fork = IBV_FORK_ENABLED;
	fixture_install(0, 0);
	domain = fixture_domain();
	p = fixture_map(NULL, 'A');
	CHECK(!fixture_is_kept(domain, p));
	CHECK(!fixture_is_kept(domain, p));
	CHECK_EQ(fixture_stats().fork_unsafe, 1);
	CHECK_EQ(fixture_stats().kept, 0);
}
TWIN(keeps_nothing_when_fork_is_unsafe, blind, BREAK(FABRIC_FORK));
