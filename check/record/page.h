/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is known of a page of a registration, and how it was changed first: 0; or CHECK_CHANGED, the cause and the number of a
 * stack.
 *
 * From its start to its end a change is *open*, and the word counts those of the page. One that ends and has taken the page
 * makes it *stale*, for good. One that ends and has left the page is no longer counted; the last of them leaves 0. So of
 * those that overlap, in whatever order they begin and end, any that takes the page makes it stale.
 *
 * Of a change that had begun there before the registration, and was not over, only the page can tell whether it came after the
 * pin; and of a call that was left, whether it has made it. That is a *doubt*, until another change takes the page.
 */
#ifndef MRN_CHECK_PAGE_H
#define MRN_CHECK_PAGE_H

#include <mrn/mmu_notifier.h>
#include <stdbool.h>
#include <stdint.h>

#include "check/shared/check.h"
#include "check/shared/log.h"

struct check_page {
	uint64_t
		entry; /* atomic: of the page map, when it had been pinned, and CHECK_KNOWN; or 0 */
	uint32_t changed; /* atomic */
};

/* In no entry of the page map. */
#define CHECK_KNOWN (UINT64_C(1) << 60)

#define CHECK_CHANGED	  (UINT32_C(1) << 31)
#define CHECK_CAUSE_SHIFT 24
#define CHECK_STALE	  (UINT32_C(1) << 23)
#define CHECK_ONE_OPEN	  (UINT32_C(1) << 16)
#define CHECK_OPEN	  (CHECK_STALE - CHECK_ONE_OPEN)
#define CHECK_DOUBT	  (UINT32_C(1) << 15)
#define CHECK_STACK	  (CHECK_DOUBT - 1)
_Static_assert(CHECK_STACKS < CHECK_STACK && MRN_NR_CAUSES < 1 << 7, "a change is one word");

static inline uint32_t check_how(enum mrn_cause cause, uint32_t stack)
{
	return CHECK_CHANGED | (uint32_t)cause << CHECK_CAUSE_SHIFT | stack;
}

/* By which call, and from where; CHECK_CHANGED alone if that is not known. */
static inline uint32_t check_how_of(uint32_t changed)
{
	return changed & ~(CHECK_STALE | CHECK_OPEN | CHECK_DOUBT);
}

/* A change begins. False if the page is stale: what changes afterwards has nothing to do with the registration. */
static inline bool check_page_open(struct check_page *p, uint32_t how)
{
	uint32_t was = __atomic_load_n(&p->changed, __ATOMIC_RELAXED), is;

	do {
		if (was & CHECK_STALE)
			return false;
		/* More at once than can be counted carry into STALE. */
		is = (was & CHECK_OPEN ? was : how | (was & CHECK_DOUBT)) + CHECK_ONE_OPEN;
		/* Release pairs with the acquire of whoever looks: the stack is noted. */
	} while (!__atomic_compare_exchange_n(&p->changed, &was, is, true, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
	return true;
}

/* One that has opened it ends. True if this has made it stale; by how, unless late and it is not known which one took it. */
static inline bool check_page_close(struct check_page *p, uint32_t how, bool late, bool kept)
{
	uint32_t was = __atomic_load_n(&p->changed, __ATOMIC_RELAXED), is;

	do {
		const bool last = (was & CHECK_OPEN) == CHECK_ONE_OPEN;

		/* Or it has been pinned again meanwhile. */
		if ((was & CHECK_STALE) || !(was & CHECK_OPEN))
			return false;
		if (!kept)
			is = (late && !last ? check_how_of(was) : how) | CHECK_STALE;
		else if (!last && !MRN_BROKEN(CHECK_NESTED))
			is = was - CHECK_ONE_OPEN;
		else
			is = was & CHECK_DOUBT ? CHECK_CHANGED | CHECK_DOUBT : 0;
	} while (!__atomic_compare_exchange_n(&p->changed, &was, is, true, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
	return !kept;
}

/* It is pinned again: what has changed before does not count; of what is open, nobody knows. */
static inline void check_page_again(struct check_page *p)
{
	uint32_t was = __atomic_load_n(&p->changed, __ATOMIC_RELAXED), is;

	do
		is = was & CHECK_STALE || !(was & CHECK_OPEN) ? 0 : CHECK_CHANGED | CHECK_DOUBT;
	while (!__atomic_compare_exchange_n(&p->changed, &was, is, true, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED));
}

/* how: CHECK_CHANGED if that is not known. */
static inline void check_page_doubt(struct check_page *p, uint32_t how)
{
	uint32_t was = __atomic_load_n(&p->changed, __ATOMIC_RELAXED);

	/* Release as in check_page_open. */
	while (!(was & CHECK_STALE) &&
	       !__atomic_compare_exchange_n(&p->changed, &was, (was ? was : how) | CHECK_DOUBT,
					    true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

#endif
