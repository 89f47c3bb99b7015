/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device models in the lab: each is clean, and without any step of its discipline it is found out.
 */
#include <errno.h>
#include <string.h>

#include "tests/harness/break.h"
#include "tests/harness/child.h"
#include "tests/harness/test.h"
#include "lab/run.h"

/*
 * The most that a broken step may take to be found. It is first sought in shorter runs: some faults are found only at
 * the end of a run.
 */
#define OPS_TO_FIND  200000
#define OPS_AT_FIRST 2000

static const struct lab_driver *find(const char *name)
{
	const struct lab_driver *driver = lab_find_driver(name);

	CHECK_MSG(driver, "no driver %s", name);
	return driver;
}

static void run(const struct lab_driver *driver, uint64_t ops, uint64_t seed, int broken,
		struct lab_result *result)
{
	const struct lab_config config = {
		.ops = ops,
		.threads = 2,
		.seed = seed,
		.broken = broken,
		.stop_at_finding = true,
	};
	char why[256] = "";
	int err = lab_run(driver, &config, result, why, sizeof(why));

	if (err == -EPERM || err == -ENOSYS || err == -EOPNOTSUPP)
		SKIP("%s", why);
	CHECK_MSG(!err, "%s", why);
}

static void check_clean(const char *name, uint64_t ops)
{
	static struct lab_result r;

	run(find(name), ops, 1, -1, &r);
	NOTE("%ju operations, %ju invalidations, %ju retries, %ju refusals, stale %ju, asserts %ju, leaks %ju",
	     (uintmax_t)r.ops, (uintmax_t)r.invalidations, (uintmax_t)r.retries,
	     (uintmax_t)r.refusals, (uintmax_t)r.stale, (uintmax_t)r.asserts, (uintmax_t)r.leaks);
	CHECK_MSG(!lab_result_findings(&r), "%s", r.finding);
	CHECK_EQ(r.ops, ops);
	/* Of an idle storm, to be clean would be nothing. */
	CHECK(r.invalidations > ops / 1000);
}

/* True if the step is found; *ops: adds the operations that it took. */
static bool is_found(const struct lab_driver *driver, uint64_t seed, int step, uint64_t *ops)
{
	static struct lab_result r;
	bool found = false;

	for (uint64_t n = OPS_AT_FIRST; n <= OPS_TO_FIND && !found; n *= 10) {
		run(driver, n, seed, step, &r);
		found = lab_result_findings(&r);
		*ops += r.ops;
	}
	return found;
}

/* Each step on this many seeds, found on all but `missed` of them; and on as many more as it takes to find it once. */
static void check_steps(const char *name, uint64_t seeds, uint64_t missed)
{
	const struct lab_driver *driver = find(name);

	if (test_is_sanitized())
		SKIP("broken models race on purpose");
	/* The storm is to find it. */
	BREAK(MISUSE_CHECKS);
	for (int step = 0; driver->steps[step].name; step++) {
		uint64_t found = 0, ops = 0, seed;

		for (seed = 1; seed <= seeds || !found; seed++)
			found += is_found(driver, seed, step, &ops);
		NOTE("%s: found on %ju of %ju seeds, after %ju operations",
		     driver->steps[step].name, (uintmax_t)found, (uintmax_t)(seed - 1),
		     (uintmax_t)(ops / (seed - 1)));
		CHECK_MSG(found + missed >= seeds, "%s", driver->steps[step].name);
	}
}

/*
 * scripts/planted-bugs tries each step on ten seeds. Sanitizers are ten times as slow; they look for other things here than
 * rare interleavings.
 */
#define MODEL(name)                                                                       \
	TEST(name##_is_clean, .timeout_s = 120, .quick_only = true)                       \
	{                                                                                 \
		check_clean(#name, test_is_sanitized() ? 3000 : 20000);                   \
	}                                                                                 \
	TEST(name##_is_clean_for_long, .timeout_s = 600, .slow = true)                    \
	{                                                                                 \
		check_clean(#name, test_is_sanitized() ? 10000 : 100000);                 \
	}                                                                                 \
	TEST(name##_without_a_step_is_found, .timeout_s = 300, .quick_only = true)        \
	{                                                                                 \
		check_steps(#name, 1, 1);                                                 \
	}                                                                                 \
	TEST(name##_without_a_step_is_found_on_two_seeds, .timeout_s = 600, .slow = true) \
	{                                                                                 \
		check_steps(#name, 2, 1);                                                 \
	}

#include "lab/models/models.def"

/* What two thirds of the models have in common has the same name in all of them. */
TEST(steps_that_are_common_have_one_name)
{
	static const char *const exempt[] = {"vhost", "scif_dma", "gntdev", "kvm"};
	/* Its pages are another domain's. */
	static const char writes_not[] = "gntdev";

	for (size_t i = 0; lab_drivers[i]; i++) {
		const struct lab_driver *d = lab_drivers[i];
		bool is_exempt = false;

		for (size_t k = 0; k < sizeof(exempt) / sizeof(exempt[0]); k++)
			is_exempt |= !strcmp(d->name, exempt[k]);
		CHECK(d->steps[0].name);
		CHECK_MSG(lab_find_step(d, "ignores_unmap") >= 0, "%s", d->name);
		CHECK_MSG((lab_find_step(d, "no_dirty") >= 0) == !!strcmp(d->name, writes_not),
			  "%s", d->name);
		if (is_exempt)
			continue;
		CHECK_MSG(lab_find_step(d, "no_retry") >= 0, "%s", d->name);
		CHECK_MSG(lab_find_step(d, "no_update_seq") >= 0, "%s", d->name);
	}
}

static void run_nouveau(void *broken)
{
	static struct lab_result r;

	run(find("nouveau"), 2000, 1, *(int *)broken, &r);
}

/* The models with a mutex for a driver lock name it to their notifiers: so the runs above would be reported, too. */
TEST(an_allocation_under_a_driver_lock_is_reported)
{
	int broken = -1;

	if (TEST_TSAN)
		SKIP("broken models race on purpose");
	CHECK(!aborts(run_nouveau, &broken, ""));
	broken = lab_find_step(find("nouveau"), "alloc_under_lock");
	CHECK(aborts(run_nouveau, &broken,
		     "mrn: lab_alloc was called with a driver lock held that a callback takes\n"));
}

/* The oracle's own figures are not always zero, nor always one: a run that is over early says so. */
TEST(a_finding_says_where_and_after_what)
{
	static struct lab_result r;
	const struct lab_driver *driver = find("umem_odp");

	if (test_is_sanitized())
		SKIP("broken models race on purpose");
	BREAK(MISUSE_CHECKS);
	run(driver, OPS_TO_FIND, 7, lab_find_step(driver, "no_update_seq"), &r);
	CHECK(r.ops < OPS_TO_FIND);
	CHECK_MSG(strstr(r.finding, "umem_odp: "), "%s", r.finding);
	CHECK_MSG(strstr(r.finding, "seed 7"), "%s", r.finding);
	CHECK_MSG(strstr(r.finding, "a callback, pages"), "%s", r.finding);
}
