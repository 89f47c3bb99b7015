/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For tests of dispatch: all calls of this process caught, and a page that is watched.
 */
#ifndef TESTS_DISPATCH_FIXTURE_H
#define TESTS_DISPATCH_FIXTURE_H

#include <errno.h>
#include <mrn/mrn.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/harness/child.h"
#include "tests/harness/raw.h"
#include "tests/harness/test.h"

static inline struct mrn_source *dispatch_or_skip(unsigned int flags)
{
	char why[512] = "";
	struct mrn_source_opts opts = {
		.size = sizeof(opts),
		.why = why,
		.why_size = sizeof(why),
		.flags = flags,
	};
	struct mrn_source *source;
	int r;

	if (TEST_TSAN)
		SKIP("ThreadSanitizer makes calls inside itself, where it cannot be entered again");
	r = mrn_source_attach(mrn_mm_self(), MRN_SOURCE_DISPATCH, &opts, &source);
	if (r)
		SKIP("%s(%s)", why, strerror(-r));
	return source;
}

/* i386's number */
#define I386_GETPPID 64

static inline void try_int80(void)
{
	long r = I386_GETPPID;

	__asm__ volatile("int $0x80" : "+a"(r) : : "r8", "r9", "r10", "r11", "memory");
}

static inline void skip_without_int80(void)
{
	if (in_a_child(try_int80))
		SKIP("this kernel has no calls by int $0x80");
}

static inline struct mrn_source *dispatch_and_int80_or_skip(void)
{
	skip_without_int80();
	return dispatch_or_skip(0);
}

/* A page, and how often its notifier was told of something that was about to happen. */
struct watched {
	struct mmu_range_notifier mrn; /* first */
	char *page;
	unsigned int calls;
	enum mrn_cause cause;
};

static bool watched_told(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
			 uint64_t seq)
{
	struct watched *w = (struct watched *)mrn;

	mmu_range_notifier_update_seq(mrn, seq);
	if (!(range->flags & MRN_RANGE_AFTER))
		__atomic_fetch_add(&w->calls, 1, __ATOMIC_RELAXED);
	w->cause = range->cause;
	return true;
}

static const struct mmu_range_notifier_ops watched_ops = {.invalidate = watched_told};

static inline void watched_open(struct watched *w)
{
	/* Where the kernel puts nothing by itself: no other thread is given the address, and gives it back. And above the heap,
	 * below which attach tries brk. */
	static uintptr_t place = 0x7e8000000000;
	void *want = (void *)__atomic_fetch_add(&place, 65536, __ATOMIC_RELAXED);

	memset(w, 0, sizeof(*w));
	w->mrn.ops = &watched_ops;
	w->page = mmap(want, 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK_EQ(w->page, want);
	CHECK_ERR(mmu_range_notifier_insert(&w->mrn, (uintptr_t)w->page, 4096, mrn_mm_self()), 0);
}

/* How often it was told. */
static inline unsigned int watched_close(struct watched *w)
{
	CHECK_ERR(mmu_range_notifier_remove(&w->mrn), 0);
	return w->calls;
}

/* Unmaps it by an instruction: 0 or -errno. */
static inline long watched_unmap(struct watched *w)
{
	return test_raw4(SYS_munmap, (long)w->page, 4096, 0, 0);
}

#endif
