/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What tests of more than one layer share: pages by number, and an invalidation in one line.
 */
#ifndef TESTS_FIXTURE_H
#define TESTS_FIXTURE_H

#include <mrn/mmu_notifier.h>

#include "os/pages.h"
#include "tests/harness/break.h"
#include "tests/harness/test.h"

/* Not every program uses all of them. */
#define HELPER static inline __attribute__((unused))

#define PAGE(n) ((uintptr_t)(n)*mrn_page_size())

/* An invalidation of pages [from, to) of mm. */
HELPER struct mmu_notifier_range pages(struct mrn_mm *mm, uintptr_t from, uintptr_t to)
{
	struct mmu_notifier_range r;

	mmu_notifier_range_init(&r, MMU_NOTIFY_UNMAP, 0, mm, PAGE(from), PAGE(to));
	return r;
}

HELPER void start(struct mmu_notifier_range *r)
{
	CHECK_ERR(mmu_notifier_invalidate_range_start(r), 0);
}

HELPER void end(struct mmu_notifier_range *r)
{
	mmu_notifier_invalidate_range_end(r);
}

#endif
