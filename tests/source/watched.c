/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Range notifiers that are inserted with a source: read_begin, read_retry and the callback, and nothing else, by real calls
 * on real memory. examples/own_consumer.c has a thread that uses shadows against one that changes memory.
 */
#include <errno.h>
#include <malloc.h>
#include <mrn/mrn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "core/check.h"
#include "os/pages.h"
#include "os/syscall.h"
#include "tests/harness/break.h"
#include "tests/harness/raw.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"
#include "tests/pin_device.h"

#define LENGTH (4 * mrn_page_size())
#define RW     (PROT_READ | PROT_WRITE)
#define ANON   (MAP_PRIVATE | MAP_ANONYMOUS)

static struct mrn_source *source;
static struct mmu_range_notifier mrn;
static unsigned int calls;
static enum mrn_cause cause;
/* Of a twin: the notifier is inserted as one of an mm that needs no watching. */
static bool without_source;

static bool invalidate(struct mmu_range_notifier *m, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	mmu_range_notifier_update_seq(m, cur_seq);
	__atomic_store_n(&cause, range->cause, __ATOMIC_RELAXED);
	__atomic_add_fetch(&calls, 1, __ATOMIC_RELEASE);
	return true;
}

static unsigned int calls_so_far(void)
{
	return __atomic_load_n(&calls, __ATOMIC_ACQUIRE);
}

static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};

static char *map_at(void *addr, int flags)
{
	char *p = (char *)mrn_sys6(SYS_mmap, (long)addr, (long)LENGTH, RW, ANON | flags, -1, 0);

	CHECK((unsigned long)p < -4096UL);
	memset(p, 1, LENGTH);
	return p;
}

static void insert(void *p, size_t length)
{
	mrn.ops = &ops;
	if (without_source)
		CHECK_ERR(mmu_range_notifier_insert(&mrn, (uintptr_t)p, length, mrn_mm_self()), 0);
	else
		CHECK_ERR(mrn_range_notifier_insert(&mrn, (uintptr_t)p, length, source,
						    MRN_COVER_PAGES),
			  0);
}

static void open_source(unsigned int kinds)
{
	source = attach_or_skip(kinds);
	/* Of pages of its own, the self-test's. */
	__atomic_store_n(&calls, 0, __ATOMIC_RELAXED);
}

static void close_source(void)
{
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* A read from before is rejected, one that begins now is not. */
static void check_collided(uint64_t seq)
{
	uint64_t now = mmu_range_read_begin(&mrn);

	CHECK(now && mmu_range_read_retry(&mrn, seq));
	CHECK(!mmu_range_read_retry(&mrn, now));
}

/* Causes that every source covers so that a range may be kept: for uffd alone, that is munmap. */
static void told_of_raw_munmap(unsigned int kinds)
{
	char *p;

	open_source(kinds);
	p = map_at(NULL, 0);
	insert(p, LENGTH);
	for (int round = 0; round < 3; round++) {
		uint64_t seq = mmu_range_read_begin(&mrn);

		CHECK(!mmu_range_read_retry(&mrn, seq));
		CHECK_ERR(test_raw4(SYS_munmap, (long)p, (long)LENGTH, 0, 0), 0);
		check_collided(seq);
		/* What is mapped there instead is watched as well. */
		map_at(p, MAP_FIXED);
	}
	close_source();
	test_raw4(SYS_munmap, (long)p, (long)LENGTH, 0, 0);
}

TEST(auto_tells_of_a_raw_munmap)
{
	told_of_raw_munmap(MRN_SOURCE_AUTO);
}
TWIN(auto_tells_of_a_raw_munmap, without_a_source, without_source = true);

#if defined(__x86_64__)
TEST(dispatch_tells_of_a_raw_munmap)
{
	told_of_raw_munmap(MRN_SOURCE_DISPATCH);
}
#endif

/* By an address that malloc has mapped for it alone, and by the end of the heap. */
TEST(auto_tells_of_a_free_inside_libc)
{
	const size_t block = 1 << 20, small = 64 << 10;
	uint64_t seq;
	char *p;

	if (test_is_sanitized())
		SKIP("the sanitizer's free does not unmap");
	open_source(MRN_SOURCE_AUTO);
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	p = malloc(block);
	CHECK(p != NULL);
	memset(p, 1, block);
	insert(p, block);
	seq = mmu_range_read_begin(&mrn);
	free(p);
	check_collided(seq);
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);

	p = malloc(small);
	CHECK(p != NULL);
	memset(p, 1, small);
	insert(p + small / 2, small / 4);
	seq = mmu_range_read_begin(&mrn);
	free(p);
	if (!malloc_trim(0))
		NOTE("the heap was not given back");
	else
		check_collided(seq);
	close_source();
}
TWIN(auto_tells_of_a_free_inside_libc, without_a_source, without_source = true);

TEST(uffd_tells_that_a_range_is_good_for_one_use)
{
	uint64_t seq, next;
	char *p;

	open_source(MRN_SOURCE_UFFD);
	p = map_at(NULL, 0);
	mrn.ops = &ops;
	CHECK_ERR(mrn_range_notifier_insert(&mrn, (uintptr_t)p, LENGTH, source,
					    MRN_CAUSE_BIT(MRN_CAUSE_DONTNEED) | MRN_COVER_RAW),
		  0);
	CHECK_ERR(mrn_range_read_begin_until(&mrn, NULL, &seq), 0);
	CHECK_EQ(calls_so_far(), 0);
	CHECK_ERR(test_raw4(SYS_madvise, (long)p, (long)LENGTH, MADV_DONTNEED, 0), 0);
	CHECK_ERR(mrn_range_read_begin_until(&mrn, NULL, &next), MRN_USE_ONCE);
	CHECK(mmu_range_read_retry(&mrn, seq));
	CHECK(!mmu_range_read_retry(&mrn, next));
	/* Each read from now on. */
	__atomic_store_n(&calls, 0, __ATOMIC_RELAXED);
	CHECK_ERR(mrn_range_read_begin_until(&mrn, NULL, &seq), MRN_USE_ONCE);
	CHECK_EQ(calls_so_far(), 1);
	CHECK_EQ(__atomic_load_n(&cause, __ATOMIC_RELAXED), MRN_CAUSE_DETACH);
	CHECK(mmu_range_read_retry(&mrn, next));
	close_source();
	test_raw4(SYS_munmap, (long)p, (long)LENGTH, 0, 0);
}

static bool refuse(struct mmu_range_notifier *m, const struct mmu_notifier_range *range,
		   uint64_t cur_seq)
{
	return mmu_notifier_range_blockable(range) && invalidate(m, range, cur_seq);
}

/* Of two notifiers one agrees, and the other refuses: what is not going to change stays watched for both. */
TEST(a_refused_start_leaves_ranges_watched)
{
	static const struct mmu_range_notifier_ops refusing = {.invalidate = refuse};
	struct mmu_range_notifier agrees = {.ops = &ops};
	struct mmu_notifier_range range;
	uint64_t seq;
	char *p;

	open_source(MRN_SOURCE_UFFD);
	p = map_at(NULL, 0);
	CHECK_ERR(mrn_range_notifier_insert(&agrees, (uintptr_t)p, LENGTH, source,
					    MRN_CAUSE_BIT(MRN_CAUSE_MUNMAP) | MRN_COVER_RAW),
		  0);
	mrn.ops = &refusing;
	CHECK_ERR(mrn_range_notifier_insert(&mrn, (uintptr_t)p, LENGTH, source,
					    MRN_CAUSE_BIT(MRN_CAUSE_MUNMAP) | MRN_COVER_RAW),
		  0);
	CHECK(mmu_range_read_begin(&agrees));
	seq = mmu_range_read_begin(&mrn);
	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, mrn_mm_self(), (uintptr_t)p,
				(uintptr_t)p + LENGTH);
	CHECK_ERR(mmu_notifier_invalidate_range_start_nonblock(&range), -EAGAIN);
	CHECK_ERR(test_raw4(SYS_munmap, (long)p, (long)LENGTH, 0, 0), 0);
	check_collided(seq);
	CHECK_ERR(mmu_range_notifier_remove(&agrees), 0);
	close_source();
}

TEST(what_a_source_does_not_cover_is_good_for_one_use)
{
	uint64_t seq;
	char *p;

	open_source(MRN_SOURCE_UFFD);
	p = map_at(NULL, 0);
	mrn.ops = &ops;
	CHECK_ERR(mrn_range_notifier_insert(&mrn, (uintptr_t)p, LENGTH, source,
					    MRN_CAUSE_BIT(MRN_CAUSE_MPROTECT)),
		  0);
	CHECK_ERR(mrn_range_read_begin_until(&mrn, NULL, &seq), MRN_USE_ONCE);
	close_source();
	test_raw4(SYS_munmap, (long)p, (long)LENGTH, 0, 0);
}

TEST(removing_ends_the_watching)
{
	char *p;

	open_source(MRN_SOURCE_UFFD);
	p = map_at(NULL, 0);
	insert(p, LENGTH);
	mrn.events = 0;
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
	CHECK_ERR(mrn_range_notifier_insert(&mrn, (uintptr_t)p, LENGTH, source,
					    MRN_CAUSE_BIT(MRN_CAUSE_MUNMAP)),
		  0);
	CHECK(!mapping_has_flag(p, " uw"));
	CHECK(mmu_range_read_begin(&mrn));
	CHECK(mapping_has_flag(p, " uw"));
	close_source();
	CHECK(!mapping_has_flag(p, " uw"));
	test_raw4(SYS_munmap, (long)p, (long)LENGTH, 0, 0);
}

TEST(after_detach_reads_fail_until_a_source_is_attached)
{
	uint64_t seq, next;
	char *p;

	open_source(MRN_SOURCE_AUTO);
	p = map_at(NULL, 0);
	insert(p, LENGTH);
	seq = mmu_range_read_begin(&mrn);
	CHECK(seq);
	CHECK_ERR(mrn_source_detach(source), 0);
	CHECK(mmu_range_read_retry(&mrn, seq));
	CHECK_EQ(mmu_range_read_begin(&mrn), 0);
	CHECK_ERR(mrn_range_read_begin_until(&mrn, NULL, &next), -ENOTCONN);
	source = attach_or_skip(MRN_SOURCE_AUTO);
	seq = mmu_range_read_begin(&mrn);
	CHECK(seq);
	CHECK_ERR(test_raw4(SYS_munmap, (long)p, (long)LENGTH, 0, 0), 0);
	check_collided(seq);
	close_source();
}

TEST(bad_input_is_refused)
{
	struct mmu_range_notifier bad = {.ops = &ops};
	uintptr_t p;

	open_source(MRN_SOURCE_AUTO);
	p = (uintptr_t)map_at(NULL, 0);
	CHECK_ERR(mrn_range_notifier_insert(NULL, p, LENGTH, source, MRN_COVER_PAGES), -EINVAL);
	CHECK_ERR(mrn_range_notifier_insert(&bad, p, LENGTH, NULL, MRN_COVER_PAGES), -EINVAL);
	CHECK_ERR(mrn_range_notifier_insert(&bad, p, LENGTH, source, 0), -EINVAL);
	CHECK_ERR(mrn_range_notifier_insert(&bad, p, 0, source, MRN_COVER_PAGES), -EINVAL);
	CHECK_ERR(mrn_range_notifier_insert(&bad, p, UINTPTR_MAX - p, source, MRN_COVER_PAGES),
		  -EOVERFLOW);
	CHECK_ERR(mrn_range_notifier_insert(&bad, p | UINTPTR_MAX << 60, LENGTH, source,
					    MRN_COVER_PAGES),
		  -EINVAL);
	bad.events = 1u << MMU_NOTIFY_CLEAR;
	CHECK_ERR(mrn_range_notifier_insert(&bad, p, LENGTH, source, MRN_COVER_PAGES), -EINVAL);
	bad.events |= 1u << MMU_NOTIFY_UNMAP;
	CHECK_ERR(mrn_range_notifier_insert(&bad, p, LENGTH, source, MRN_COVER_PAGES), 0);
	CHECK_ERR(mrn_range_notifier_insert(&bad, p, LENGTH, source, MRN_COVER_PAGES), -EBUSY);
	CHECK_ERR(mmu_range_notifier_remove(&bad), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
	CHECK_ERR(mrn_range_notifier_insert(&bad, p, LENGTH, source, MRN_COVER_PAGES), -ENOTCONN);
	test_raw4(SYS_munmap, (long)p, (long)LENGTH, 0, 0);
}
