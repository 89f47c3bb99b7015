/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A driver frees, or unmaps, under the lock that its callback takes. Nothing that is watched goes away, and nothing waits:
 * it is told all the same.
 */
#include <errno.h>
#include <mrn/mrn.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "os/pages.h"
#include "tests/harness/break.h"
#include "tests/harness/child.h"
#include "tests/harness/test.h"

static pthread_mutex_t driver_lock = PTHREAD_MUTEX_INITIALIZER, another = PTHREAD_MUTEX_INITIALIZER;

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	(void)range;
	pthread_mutex_lock(&driver_lock);
	mmu_range_notifier_update_seq(mrn, cur_seq);
	pthread_mutex_unlock(&driver_lock);
	return true;
}

struct driver {
	void (*act)(void);
	pthread_mutex_t *held;
};

static void drive(void *arg)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};
	struct mmu_range_notifier mrn = {.ops = &ops, .driver_lock = &driver_lock};
	const struct driver *d = arg;
	static char watched[1 << 16];

	CHECK_ERR(mmu_range_notifier_insert(&mrn, (uintptr_t)watched, sizeof(watched),
					    mrn_mm_self()),
		  0);
	if (d->held)
		pthread_mutex_lock(d->held);
	d->act();
	if (d->held)
		pthread_mutex_unlock(d->held);
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
}

/* Small: freeing it unmaps nothing. Volatile, so that the compiler leaves the calls in. */
static void *volatile block;

static void free_a_block(void)
{
	free(block);
}

static void grow_a_block(void)
{
	block = realloc(block, 200);
	CHECK(block);
}

static void free_nothing(void)
{
	block = NULL;
	free(block);
}

static void allocate(void)
{
	block = malloc(100);
	block = realloc(NULL, 100);
}

static void unmap(void)
{
	CHECK_EQ(munmap(block, mrn_page_size()), 0);
}

static bool is_found(void (*act)(void), pthread_mutex_t *held, const char *says)
{
	struct driver d = {act, held};

	return aborts(drive, &d, says);
}

TEST(heap_calls_under_the_driver_lock)
{
	if (test_is_sanitized())
		SKIP("the sanitizer's malloc is in place");
	block = malloc(100);
	CHECK(block);
	CHECK(is_found(free_a_block, &driver_lock,
		       "mrn: free was called with a driver lock held that a callback takes\n"));
	CHECK(is_found(grow_a_block, &driver_lock, "mrn: realloc was called with"));
	/* Dropped first; and a lock that no callback takes. */
	CHECK(!is_found(free_a_block, NULL, ""));
	CHECK(!is_found(grow_a_block, NULL, ""));
	CHECK(!is_found(free_a_block, &another, ""));
	CHECK(!is_found(grow_a_block, &another, ""));
	/* Nothing to unmap. */
	CHECK(!is_found(free_nothing, &driver_lock, ""));
	CHECK(!is_found(allocate, &driver_lock, ""));
}
TWIN(heap_calls_under_the_driver_lock, unchecked, MRN_BREAK(MISUSE_CHECKS));
TWIN(heap_calls_under_the_driver_lock, any_holder, MRN_BREAK(ORDER_OWNER));

TEST(munmap_under_the_driver_lock)
{
	block = mmap(NULL, mrn_page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(block != MAP_FAILED);
	CHECK(is_found(
		unmap, &driver_lock,
		"mrn: mmu_notifier_invalidate_range_start was called with a driver lock held"));
	CHECK(is_found(unmap, &driver_lock, "looks like return addresses on its stack:\n"));
	CHECK(!is_found(unmap, NULL, ""));
	CHECK(!is_found(unmap, &another, ""));
}
TWIN(munmap_under_the_driver_lock, unchecked, MRN_BREAK(MISUSE_CHECKS));
