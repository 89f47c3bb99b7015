/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registrations and transfers, what changes of their memory make of them, and what the log then holds. The changes are
 * announced by the test.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <unistd.h>

#include <mrn/mmu_notifier.h>

#include "check/record/calls.h"
#include "check/record/finding.h"
#include "check/record/flight.h"
#include "check/record/mark.h"
#include "check/record/pool.h"
#include "check/record/registration.h"
#include "check/shared/log.h"
#include "os/pagemap.h"
#include "os/pages.h"
#include "os/uffd.h"
#include "tests/harness/break.h"
#include "tests/harness/test.h"
#include "watch/record/walk.h"
#include "watch/record/lane.h"
#include "watch/record/vdso_clock.h"
#include "watch/tool/reader.h"

enum { PAGES = 16 };

static struct watch_reader tool;
static struct check_log *file;
static char *memory;

/* What the calls say. */
static bool in_a_copy, in_a_child;

bool check_is_in_a_copy(void)
{
	return in_a_copy;
}

bool check_is_in_a_child(void)
{
	return in_a_child;
}

static size_t at(size_t page)
{
	return page * mrn_page_size();
}

static uintptr_t addr(size_t page)
{
	return (uintptr_t)memory + at(page);
}

static int started(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	check_flight_changed(range);
	return 0;
}

static void ended(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	check_marks_end(range);
}

static const struct mmu_notifier_ops ops = {
	.invalidate_range_start = started,
	.invalidate_range_end = ended,
};
static struct mmu_notifier notifier = {.ops = &ops};

static void open_log(void)
{
	char name[64];

	CHECK_ERR(watch_reader_create(&tool, 4, sizeof(struct check_log)), 0);
	watch_reader_name(&tool, name, sizeof(name));
	CHECK_EQ(setenv(WATCH_ENVIRONMENT, name, 1), 0);
	CHECK(watch_log_open());
	watch_clock_start();
	watch_walk_start();
	CHECK_ERR(watch_lane_take(1), 0);
	file = watch_lane_mine_besides();
	CHECK(file);
	memory = mmap(NULL, at(PAGES), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	memset(memory, 1, at(PAGES));
	CHECK_ERR(mmu_notifier_register(&notifier, mrn_mm_self()), 0);
}

static void announce(enum mmu_notifier_event event, enum mrn_cause cause, size_t first, size_t n,
		     void (*change)(void *start, size_t length))
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, event, 0, mrn_mm_self(), addr(first), addr(first + n));
	range.cause = cause;
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	if (change)
		change((void *)addr(first), n * mrn_page_size());
	mmu_notifier_invalidate_range_end(&range);
}

/* Gives the range other pages, as whoever writes after a discard sees them while a device holds the former ones. */
static void replace(void *start, size_t length)
{
	char *other =
		mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(other != MAP_FAILED);
	memset(other, 2, length);
	CHECK(mremap(other, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, start) == start);
}

static void dontneed(size_t first, size_t n)
{
	announce(MMU_NOTIFY_CLEAR, MRN_CAUSE_DONTNEED, first, n, replace);
}

static struct check_reg *registered(size_t first, size_t n, uint32_t flags)
{
	struct check_reg *reg = check_reg_begin(CHECK_VERBS, addr(first), at(n), flags);

	CHECK(reg);
	check_reg_done(reg, 7);
	return reg;
}

/* The only one of that grade; NULL if there is none. */
static const struct check_finding *only_of(const struct check_finding *f, size_t n,
					   enum check_grade grade)
{
	const struct check_finding *found = NULL;

	for (size_t i = 0; i < n; i++) {
		if (!f[i].ready || f[i].grade != grade)
			continue;
		CHECK(!found);
		found = &f[i];
	}
	return found;
}

/* Of those that are not certain yet. */
static const struct check_finding *only_open(enum check_grade grade)
{
	return only_of(file->open, CHECK_OPEN_MAX, grade);
}

/* The only finding of that grade, and nothing is open. */
static const struct check_finding *only(enum check_grade grade)
{
	CHECK(!only_open(grade));
	return only_of(file->finding, CHECK_FINDINGS, grade);
}

TEST(a_use_of_what_has_changed_is_found_once_and_counted)
{
	const struct check_finding *f;
	struct check_reg *reg;

	open_log();
	reg = registered(2, 4, 0);
	for (int i = 0; i < 2; i++)
		check_use(reg, addr(3), 100, "one");
	CHECK(!only(CHECK_USE));
	dontneed(3, 1);
	for (int i = 0; i < 3; i++)
		check_use(reg, addr(3) + 17, 100, "one");
	f = only(CHECK_USE);
	CHECK(f);
	CHECK_EQ(f->count, 3);
	CHECK_EQ(f->of, CHECK_VERBS);
	CHECK_EQ(f->name, 7);
	CHECK_EQ(f->cause, MRN_CAUSE_DONTNEED);
	CHECK_EQ(f->start, addr(2));
	CHECK_EQ(f->length, at(4));
	CHECK_EQ(f->changed_start, addr(3));
	CHECK_EQ(f->changed_end, addr(4));
	CHECK_EQ(f->used_start, addr(3) + 17);
	CHECK(f->registered && f->changed && f->used);
	CHECK(!strcmp(f->op, "one"));
	CHECK_EQ(file->counts.uses, 5);
	CHECK(!only(CHECK_CHANGE) && !only(CHECK_FLIGHT));
}
TWIN(a_use_of_what_has_changed_is_found_once_and_counted, unnoted, BREAK(CHECK_CHANGES));

TEST(what_is_pinned_again_is_what_is_there)
{
	struct check_reg *reg;

	open_log();
	reg = registered(0, 6, 0);
	dontneed(1, 2);
	check_reg_again(reg, addr(1), 1);
	CHECK(!check_use(reg, addr(0), at(2), "again"));
	CHECK(check_use(reg, addr(2), 1, "not again"));
	dontneed(1, 1);
	CHECK(check_use(reg, addr(1), 1, "changed again"));
	/* All that there is, and nothing. */
	check_reg_again(reg, addr(0) - 1, at(PAGES) + 2);
	CHECK(!check_use(reg, addr(0), at(6), "again"));
	check_reg_again(reg, addr(7), at(1));
	check_reg_end(reg);
	check_reg_again(reg, addr(0), at(1));
}
TWIN(what_is_pinned_again_is_what_is_there, counts_as_changed, BREAK(CHECK_AGAIN));

/* One of a fork that nobody has seen has the registrations, too. */
TEST(a_child_that_is_not_followed_has_no_registrations)
{
	struct check_reg *reg;

	open_log();
	reg = registered(0, 6, 0);
	dontneed(1, 2);
	in_a_child = true;
	CHECK(!check_reg_begin(CHECK_FABRIC, addr(0), at(1), 0));
	in_a_copy = true;
	CHECK(!check_use(reg, addr(1), 1, "the child's"));
	check_reg_again(reg, addr(1), 1);
	check_reg_end(reg);
	in_a_child = in_a_copy = false;
	CHECK(check_use(reg, addr(1), 1, "the parent's"));
	check_reg_end(reg);
}
TWIN(a_child_that_is_not_followed_has_no_registrations, has, BREAK(CHECK_COPIES));

TEST(what_was_not_changed_may_be_used)
{
	struct check_reg *reg;

	open_log();
	reg = registered(0, PAGES, 0);
	dontneed(3, 1);
	check_use(reg, addr(0), at(3), "below");
	check_use(reg, addr(4), at(PAGES - 4), "above");
	CHECK(!only(CHECK_USE));
	check_use(reg, addr(0), at(3) + 1, "up to it");
	CHECK(only(CHECK_USE));
}
TWIN(what_was_not_changed_may_be_used, whole, BREAK(CHECK_WHOLE); BREAK(CHECK_NUMBERS));

static void advise(unsigned int flags, size_t n)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, flags, mrn_mm_self(), addr(0), addr(n));
	range.cause = MRN_CAUSE_MADVISE;
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	replace(memory, at(n));
	mmu_notifier_invalidate_range_end(&range);
}

/* As MADV_GUARD_INSTALL does. */
TEST(advice_may_take_pages)
{
	struct check_reg *reg;

	open_log();
	reg = registered(0, PAGES, 0);
	advise(0, 1);
	check_use(reg, addr(1), at(PAGES - 1), "above");
	CHECK(!only(CHECK_USE));
	check_use(reg, addr(0), at(1), "it");
	CHECK(only(CHECK_USE));
	CHECK_EQ(only(CHECK_USE)->cause, MRN_CAUSE_MADVISE);
}
TWIN(advice_may_take_pages, unnoted, BREAK(CHECK_CHANGES));

TEST(rights_take_no_pages)
{
	struct check_reg *reg;

	open_log();
	reg = registered(0, PAGES, CHECK_UNSEEN_USES);
	announce(MMU_NOTIFY_PROTECTION_VMA, MRN_CAUSE_MPROTECT, 0, PAGES, NULL);
	announce(MMU_NOTIFY_CLEAR, MRN_CAUSE_FREE, 0, PAGES, NULL);
	announce(MMU_NOTIFY_PROTECTION_PAGE, MRN_CAUSE_FORK, 0, PAGES, NULL);
	advise(MRN_RANGE_PINS_STAY, PAGES);
	check_use(reg, addr(0), at(PAGES), "all");
	CHECK(!only(CHECK_USE) && !only(CHECK_CHANGE));
}
TWIN(rights_take_no_pages, taken, BREAK(CHECK_RIGHTS));

/* The pages of shared memory come back after MADV_DONTNEED. */
TEST(a_discard_leaves_shared_memory_its_pages)
{
	struct check_reg *reg;

	open_log();
	CHECK(mmap(memory, at(PAGES), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == memory);
	memset(memory, 1, at(PAGES));
	reg = registered(0, PAGES, CHECK_UNSEEN_USES);
	announce(MMU_NOTIFY_CLEAR, MRN_CAUSE_DONTNEED, 0, PAGES, NULL);
	check_use(reg, addr(0), at(PAGES), "all");
	CHECK(!only(CHECK_USE) && !only(CHECK_CHANGE));
}
TWIN(a_discard_leaves_shared_memory_its_pages, spared, BREAK(CHECK_SPARED));

static void drop(void *start, size_t length)
{
	CHECK_EQ(madvise(start, length, MADV_DONTNEED), 0);
}

static struct check_reg *registered_unpinned(uint32_t flags)
{
	struct check_reg *reg = check_reg_begin(CHECK_UCX, addr(0), at(PAGES), flags);

	CHECK(reg);
	check_reg_done(reg, 7);
	return reg;
}

/* The first half of a file's pages come after their registration, which pins nothing; the second never do. */
TEST(a_discard_leaves_shared_memory_that_came_later)
{
	struct check_reg *reg, *unseen;
	int fd = memfd_create("shared", MFD_CLOEXEC);

	open_log();
	CHECK(fd >= 0 && !ftruncate(fd, (off_t)at(PAGES)));
	CHECK(mmap(memory, at(PAGES), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
	      memory);
	reg = registered_unpinned(0);
	unseen = registered_unpinned(CHECK_UNSEEN_USES);
	memset(memory, 1, at(PAGES / 2));
	announce(MMU_NOTIFY_CLEAR, MRN_CAUSE_DONTNEED, 0, PAGES, drop);
	check_use(reg, addr(0), at(PAGES), "all");
	CHECK(!only(CHECK_USE) && !only(CHECK_CHANGE));
	CHECK_EQ(file->counts.changes, 0);
	/* What takes the file's own pages counts. */
	announce(MMU_NOTIFY_CLEAR, MRN_CAUSE_REMOVE, 0, PAGES, drop);
	check_use(reg, addr(0), at(PAGES), "all");
	CHECK(only(CHECK_USE) && only(CHECK_CHANGE));
	check_reg_end(reg);
	check_reg_end(unseen);
}
TWIN(a_discard_leaves_shared_memory_that_came_later, is_private, BREAK(CHECK_CAME));

TEST(a_discard_takes_private_memory_that_came_later)
{
	struct check_reg *reg;

	open_log();
	drop(memory, at(PAGES));
	reg = registered_unpinned(0);
	memset(memory, 1, at(PAGES / 2));
	announce(MMU_NOTIFY_CLEAR, MRN_CAUSE_DONTNEED, 0, PAGES, drop);
	for (size_t page = 0; page < PAGES; page++)
		check_use(reg, addr(page), 10, "each");
	CHECK(only(CHECK_USE));
	CHECK_EQ(only(CHECK_USE)->count, PAGES);
	check_reg_end(reg);
}
TWIN(a_discard_takes_private_memory_that_came_later, deaf, BREAK(CHECK_CHANGES));

/* Shared memory that is unmapped and mapped again, where the page map has numbers. */
TEST(the_same_page_is_no_other)
{
	const uint64_t frame = MRN_PAGEMAP_FRAME;
	struct check_reg *reg = NULL;
	uint64_t entry = 0;
	int memfd, fd;

	open_log();
	fd = mrn_pagemap_open();
	if (fd < 0 || mrn_pagemap_read(fd, addr(0), 1, &entry) || !(entry & frame))
		SKIP("the page map shows no frame numbers: needs CAP_SYS_ADMIN");
	memfd = memfd_create("shared", MFD_CLOEXEC);
	CHECK(memfd >= 0 && !ftruncate(memfd, (off_t)at(1)));
	for (int i = 0; i < 2; i++) {
		CHECK(mmap(memory, at(1), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memfd,
			   0) == memory);
		*memory = 1;
		if (!i)
			reg = registered(0, 1, 0);
		if (!i)
			announce(MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, 0, 1, NULL);
	}
	check_use(reg, addr(0), 10, "all");
	CHECK(!only(CHECK_USE));
	CHECK_EQ(file->counts.settled, 1);
	CHECK_EQ(munmap(memory, at(1)), 0);
	check_use(reg, addr(0), 10, "all");
	CHECK(only(CHECK_USE));
	CHECK_EQ(only(CHECK_USE)->now, CHECK_NOW_NOTHING);
}
TWIN(the_same_page_is_no_other, unasked, BREAK(CHECK_NUMBERS));

static bool has_numbers(void)
{
	uint64_t entry = 0;
	int fd = mrn_pagemap_open();

	*memory = 1;
	if (fd >= 0) {
		CHECK(!mrn_pagemap_read(fd, addr(0), 1, &entry));
		mrn_pagemap_close(fd);
	}
	return entry & MRN_PAGEMAP_FRAME;
}

/* The memory of a file, after a file's, which nobody has touched. Returns what is registered there. */
static struct check_reg *mapped_again(int protection, bool other)
{
	struct check_reg *reg = NULL;
	int memfd = memfd_create("shared", MFD_CLOEXEC);

	CHECK(memfd >= 0 && !ftruncate(memfd, (off_t)at(2)));
	for (int i = 0; i < 2; i++) {
		CHECK(mmap(memory, at(1), i ? protection : PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_FIXED, memfd, i && other ? (off_t)at(1) : 0) == memory);
		if (i)
			continue;
		*memory = 1;
		reg = registered(0, 1, 0);
		announce(MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, 0, 1, NULL);
	}
	close(memfd);
	return reg;
}

TEST(shared_memory_that_nobody_has_touched_is_the_same)
{
	open_log();
	if (!has_numbers())
		SKIP("the page map shows no frame numbers: needs CAP_SYS_ADMIN");
	check_use(mapped_again(PROT_READ | PROT_WRITE, false), addr(0), 10, "same");
	check_use(mapped_again(PROT_NONE, false), addr(0), 10, "same");
	CHECK(!only(CHECK_USE));
	CHECK_EQ(file->counts.settled, 2);
	check_use(mapped_again(PROT_READ, true), addr(0), 10, "other");
	CHECK(only(CHECK_USE));
	CHECK_EQ(only(CHECK_USE)->now, CHECK_NOW_OTHER);
}
TWIN(shared_memory_that_nobody_has_touched_is_the_same, gone, BREAK(CHECK_BACK));

/* Nobody answers. */
TEST(a_use_waits_for_no_userfaultfd, .timeout_s = 20)
{
	struct uffdio_register wanted = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	struct check_reg *reg;
	uint64_t got;
	int fd;

	open_log();
	if (!has_numbers())
		SKIP("the page map shows no frame numbers: needs CAP_SYS_ADMIN");
	fd = mrn_uffd_open(UFFD_FEATURE_MISSING_SHMEM, 0, &got);
	if (fd < 0)
		SKIP("no userfaultfd for shared memory");
	reg = mapped_again(PROT_READ | PROT_WRITE, true);
	wanted.range = (struct uffdio_range){addr(0), at(1)};
	CHECK_EQ(ioctl(fd, UFFDIO_REGISTER, &wanted), 0);
	check_use(reg, addr(0), 10, "unknown");
	CHECK(only(CHECK_USE));
	CHECK_EQ(only(CHECK_USE)->now, CHECK_NOW_UNKNOWN);
	close(fd);
}
TWIN(a_use_waits_for_no_userfaultfd, gone, BREAK(CHECK_BACK));

/* Registers a page after the start of a change that happens after the pin, or has happened before. */
static struct check_reg *registered_meanwhile(bool before,
					      void (*change)(void *start, size_t length))
{
	struct mmu_notifier_range range;
	struct check_reg *reg;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mrn_mm_self(), addr(0), addr(1));
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	if (before)
		change(memory, at(1));
	reg = check_reg_begin(CHECK_VERBS, addr(0), at(2), 0);
	CHECK(reg);
	*memory = 1; /* the pin */
	if (!before)
		change(memory, at(1));
	check_reg_done(reg, 7);
	mmu_notifier_invalidate_range_end(&range);
	*memory = 2;
	return reg;
}

TEST(what_is_changed_while_it_is_registered_is_found)
{
	struct check_reg *reg;

	open_log();
	reg = registered_meanwhile(false, drop);
	check_use(reg, addr(1), at(1), "beside it");
	CHECK(!only(CHECK_USE));
	check_use(reg, addr(0), at(1), "it");
	CHECK(only(CHECK_USE));
	CHECK_EQ(only(CHECK_USE)->cause, MRN_CAUSE_UNKNOWN);
	CHECK(!only(CHECK_USE)->changed);
}
TWIN(what_is_changed_while_it_is_registered_is_found, begun, BREAK(CHECK_BEGUN));

TEST(what_may_not_be_pinned_is_not_in_doubt)
{
	struct mmu_notifier_range range;
	struct check_reg *reg;

	open_log();
	drop(memory, at(1));
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mrn_mm_self(), addr(0), addr(1));
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	reg = check_reg_begin(CHECK_FABRIC, addr(0), at(1), 0);
	check_reg_done(reg, 7);
	mmu_notifier_invalidate_range_end(&range);
	*memory = 1;
	check_use(reg, addr(0), at(1), "it");
	CHECK(!only(CHECK_USE));
}
TWIN(what_may_not_be_pinned_is_not_in_doubt, unpinned, BREAK(CHECK_UNPINNED));

TEST(what_has_changed_before_it_was_pinned_is_good)
{
	struct check_reg *reg;

	open_log();
	reg = registered_meanwhile(true, drop);
	check_use(reg, addr(0), at(2), "all");
	CHECK(!only(CHECK_USE));
	CHECK_EQ(file->counts.settled, 1);
	/* What it is changed by later is its first change. */
	dontneed(0, 1);
	check_use(reg, addr(0), at(2), "all");
	CHECK(only(CHECK_USE));
	CHECK_EQ(only(CHECK_USE)->cause, MRN_CAUSE_DONTNEED);
}
TWIN(what_has_changed_before_it_was_pinned_is_good, unasked, BREAK(CHECK_NUMBERS));

TEST(a_change_is_found_where_uses_cannot_be_seen)
{
	struct check_reg *reg;

	open_log();
	reg = registered(0, 2, CHECK_UNSEEN_USES);
	dontneed(1, 4);
	CHECK(only(CHECK_CHANGE));
	CHECK_EQ(only(CHECK_CHANGE)->changed_start, addr(1));
	CHECK_EQ(only(CHECK_CHANGE)->changed_end, addr(2));
	/* The registration has nothing to do with what is there now. */
	dontneed(1, 1);
	check_reg_end(reg);
	dontneed(0, 2);
	CHECK_EQ(only(CHECK_CHANGE)->count, 1);
}
TWIN(a_change_is_found_where_uses_cannot_be_seen, unnoted, BREAK(CHECK_CHANGES));

/* Each place in the program once, as the finding itself. */
TEST(the_end_of_what_was_changed_is_noted)
{
	const struct check_finding *f;
	uint64_t first = 0;

	open_log();
	for (int i = 0; i < 2; i++) {
		struct check_reg *reg = registered(0, 2, CHECK_UNSEEN_USES);

		dontneed(0, 1);
		f = only(CHECK_CHANGE);
		CHECK(f);
		CHECK_EQ(f->ended_at, first);
		check_reg_end(reg);
		if (!i)
			first = f->ended_at;
		CHECK_EQ(f->ended_at, first);
		CHECK(f->changed_at && f->ended_at >= f->changed_at);
		CHECK(f->ended);
	}
	CHECK_EQ(f->count, 2);
}
TWIN(the_end_of_what_was_changed_is_noted, ends, BREAK(CHECK_ENDS));

static struct check_reg *told;

static void end_told(void)
{
	mrn_check_tells_hook = NULL;
	check_reg_end(told);
}

/* As another thread does. */
TEST(one_that_ends_while_its_change_is_told_has_ended)
{
	open_log();
	told = registered(0, 2, CHECK_UNSEEN_USES);
	mrn_check_tells_hook = end_told;
	announce(MMU_NOTIFY_CLEAR, MRN_CAUSE_DONTNEED, 0, 1, replace);
	CHECK(!mrn_check_tells_hook);
	CHECK(only(CHECK_CHANGE)->ended_at);
	/* It is no other thread's stack. */
	CHECK(!only(CHECK_CHANGE)->ended);
}
TWIN(one_that_ends_while_its_change_is_told_has_ended, ends, BREAK(CHECK_ENDS));

TEST(what_is_registered_again_is_as_new)
{
	struct check_reg *reg;

	open_log();
	for (int i = 0; i < 3; i++) {
		reg = registered(0, PAGES, 0);
		check_use(reg, addr(0), at(PAGES), "all");
		dontneed(0, PAGES);
		check_reg_end(reg);
	}
	CHECK(!only(CHECK_USE));
	/* A use after the end is nobody's. */
	check_use(reg, addr(0), at(PAGES), "all");
	CHECK(!only(CHECK_USE));
	CHECK_EQ(file->counts.registrations, 3);
}

TEST(a_change_in_flight_is_found)
{
	uint32_t flight;

	open_log();
	flight = check_flight_begin(CHECK_IO_URING, addr(1) + 5, 10, "READ", &(uint32_t){0});
	CHECK(flight);
	dontneed(2, 3);
	announce(MMU_NOTIFY_PROTECTION_VMA, MRN_CAUSE_MPROTECT, 0, PAGES, NULL);
	CHECK(!only(CHECK_FLIGHT));
	dontneed(0, 3);
	dontneed(0, 3);
	CHECK(only(CHECK_FLIGHT));
	CHECK_EQ(only(CHECK_FLIGHT)->count, 1);
	CHECK_EQ(only(CHECK_FLIGHT)->used_start, addr(1) + 5);
	CHECK(only(CHECK_FLIGHT)->used && only(CHECK_FLIGHT)->changed);
	check_flight_end(flight);
}
TWIN(a_change_in_flight_is_found, unlooked, BREAK(CHECK_FLIGHTS));

/* ------------------------------------------------------------------------- calls that fail */

static struct mmu_notifier_range begun(enum mmu_notifier_event event, enum mrn_cause cause,
				       size_t first, size_t n)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, event, 0, mrn_mm_self(), addr(first), addr(first + n));
	range.cause = cause;
	return range;
}

static void over(struct mmu_notifier_range *range, bool failed)
{
	if (failed)
		check_marks_doubt(range);
	mmu_notifier_invalidate_range_end(range);
}

TEST(a_call_that_fails_is_no_change)
{
	struct mmu_notifier_range range;
	struct check_reg *reg, *unseen;
	uint32_t flight;

	open_log();
	reg = registered(0, PAGES, 0);
	unseen = registered(0, PAGES, CHECK_UNSEEN_USES);
	flight = check_flight_begin(CHECK_IO_URING, addr(1), 10, "READ", &(uint32_t){0});
	for (int i = 0; i < 2; i++) {
		range = begun(i ? MMU_NOTIFY_CLEAR : MMU_NOTIFY_UNMAP,
			      i ? MRN_CAUSE_DONTNEED : MRN_CAUSE_MUNMAP, 0, 4);
		CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
		over(&range, true);
	}
	check_use(reg, addr(0), at(PAGES), "all");
	check_use(unseen, addr(0), at(PAGES), "all");
	CHECK(!only(CHECK_USE) && !only(CHECK_CHANGE) && !only(CHECK_FLIGHT));
	CHECK_EQ(file->counts.changes, 0);
	/* What is a change now is the first one. */
	dontneed(1, 1);
	CHECK_EQ(only(CHECK_FLIGHT)->count, 1);
	CHECK_EQ(only(CHECK_CHANGE)->count, 1);
	check_flight_end(flight);
	check_use(reg, addr(0), at(PAGES), "all");
	CHECK_EQ(only(CHECK_USE)->count, 1);
}
TWIN(a_call_that_fails_is_no_change, change, BREAK(CHECK_FAILED));

/* The pages behind page 2 are gone: the first part of the call was done, and then it failed. */
TEST(what_a_call_has_changed_before_it_failed_is_changed)
{
	struct mmu_notifier_range range;
	struct check_reg *reg;

	open_log();
	reg = registered(0, PAGES, CHECK_UNSEEN_USES);
	range = begun(MMU_NOTIFY_UNMAP, MRN_CAUSE_MAP_FIXED, 0, 4);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	CHECK_EQ(munmap((void *)addr(2), at(2)), 0);
	over(&range, true);
	check_use(reg, addr(0), at(2), "kept");
	CHECK(!only(CHECK_USE));
	CHECK(only(CHECK_CHANGE));
	CHECK_EQ(only(CHECK_CHANGE)->count, 1);
	check_use(reg, addr(0), at(3), "gone");
	CHECK(only(CHECK_USE));
	CHECK_EQ(only(CHECK_USE)->changed_start, addr(2));
	range = begun(MMU_NOTIFY_CLEAR, MRN_CAUSE_DONTNEED, 4, PAGES - 4);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	CHECK_EQ(madvise((void *)addr(6), at(1), MADV_DONTNEED), 0);
	over(&range, true);
	check_use(reg, addr(7), at(PAGES - 7), "kept");
	check_use(reg, addr(4), at(2), "kept");
	CHECK_EQ(only(CHECK_USE)->count, 1);
	CHECK_EQ(file->counts.changes, 2);
}
TWIN(what_a_call_has_changed_before_it_failed_is_changed, believed, BREAK(CHECK_BELIEVED));

/* A file's page may be away and come back; one that nobody has touched has never been there. */
TEST(what_is_away_has_not_been_taken)
{
	struct mmu_notifier_range range;
	struct check_reg *reg;

	open_log();
	CHECK(mmap(memory, at(1), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED,
		   -1, 0) == memory);
	*memory = 1;
	CHECK_EQ(madvise((void *)addr(3), at(1), MADV_DONTNEED), 0);
	reg = registered(0, PAGES, CHECK_UNSEEN_USES);
	CHECK(check_flight_begin(CHECK_IO_URING, addr(3), 10, "READ", &(uint32_t){0}));
	CHECK_EQ(madvise(memory, at(1), MADV_DONTNEED), 0);
	range = begun(MMU_NOTIFY_CLEAR, MRN_CAUSE_FTRUNCATE, 0, PAGES);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	over(&range, true);
	check_use(reg, addr(0), at(PAGES), "all");
	CHECK(!only(CHECK_USE) && !only(CHECK_CHANGE) && !only(CHECK_FLIGHT));
}
TWIN(what_is_away_has_not_been_taken, taken, BREAK(CHECK_AWAY));

static bool is_guard(size_t page)
{
	uint64_t entry;
	int fd = mrn_pagemap_open();
	bool is = fd >= 0 && !mrn_pagemap_read(fd, addr(page), 1, &entry) &&
		  (entry & MRN_PAGEMAP_GUARD);

	if (fd >= 0)
		mrn_pagemap_close(fd);
	return is;
}

/* As advice whose range has a hole behind it. */
TEST(a_guard_is_no_page)
{
	const int install = 102;
	struct mmu_notifier_range range;

	open_log();
	registered(0, PAGES, CHECK_UNSEEN_USES);
	range = begun(MMU_NOTIFY_CLEAR, MRN_CAUSE_MADVISE, 0, PAGES);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	if (madvise((void *)addr(2), at(1), install) || !is_guard(2))
		SKIP("this kernel does not say where guards are");
	over(&range, true);
	CHECK(only(CHECK_CHANGE));
}
TWIN(a_guard_is_no_page, page, BREAK(CHECK_GUARDS));

/* As by a realloc that cuts the rest off. */
TEST(a_flight_may_lose_its_last_pages)
{
	struct mmu_notifier_range range;

	open_log();
	CHECK(check_flight_begin(CHECK_IO_URING, addr(0), at(4), "READ", &(uint32_t){0}));
	range = begun(MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, 0, 4);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	CHECK_EQ(munmap((void *)addr(2), at(2)), 0);
	over(&range, true);
	CHECK(only(CHECK_FLIGHT));
}
TWIN(a_flight_may_lose_its_last_pages, believed, BREAK(CHECK_BELIEVED));

/* As of several mappings: what has moved away is still mapped (MREMAP_DONTUNMAP), and nothing is there. */
TEST(an_mremap_that_fails_may_have_moved_a_part)
{
	struct mmu_notifier_range range;
	struct check_reg *reg;

	open_log();
	reg = registered(0, PAGES, CHECK_UNSEEN_USES);
	CHECK(check_flight_begin(CHECK_IO_URING, addr(0), 10, "READ", &(uint32_t){0}));
	for (int i = 0; i < 2; i++) {
		range = begun(MMU_NOTIFY_UNMAP, MRN_CAUSE_MREMAP_SRC, 0, 4);
		CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
		if (i)
			drop(memory, at(2));
		over(&range, true);
		memset(memory, 2, at(2));
		check_use(reg, addr(0), at(PAGES), "all");
		CHECK_EQ(!only(CHECK_CHANGE), !i);
		CHECK_EQ(!only(CHECK_FLIGHT), !i);
	}
	CHECK(only(CHECK_USE));
	CHECK_EQ(only(CHECK_USE)->changed_end, addr(2));
}
TWIN(an_mremap_that_fails_may_have_moved_a_part, moved, BREAK(CHECK_MOVED));

/* Only their numbers tell which pages are there. */
TEST(an_mremap_that_fails_may_have_put_others_there)
{
	struct mmu_notifier_range range;
	struct check_reg *reg, *unpinned;

	open_log();
	if (!has_numbers())
		SKIP("the page map shows no frame numbers: needs CAP_SYS_ADMIN");
	reg = registered(0, PAGES, CHECK_UNSEEN_USES);
	unpinned = registered_unpinned(0);
	CHECK(check_flight_begin(CHECK_IO_URING, addr(0), 10, "READ", &(uint32_t){0}));
	for (int i = 0; i < 2; i++) {
		range = begun(MMU_NOTIFY_UNMAP, MRN_CAUSE_MREMAP_DST, 0, 4);
		CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
		if (i)
			replace(memory, at(2));
		over(&range, true);
		check_use(unpinned, addr(0), at(PAGES), "all");
		CHECK(!only(CHECK_USE));
		CHECK_EQ(!only(CHECK_CHANGE), !i);
		CHECK_EQ(!only(CHECK_FLIGHT), !i);
	}
	check_use(reg, addr(0), at(PAGES), "all");
	CHECK(only(CHECK_USE));
	CHECK_EQ(only(CHECK_USE)->changed_end, addr(2));
}
TWIN(an_mremap_that_fails_may_have_put_others_there, moved, BREAK(CHECK_MOVED));

/* In whatever order two changes of a page begin and end, and whichever of them fails. */
TEST(of_two_that_overlap_one_suffices)
{
	open_log();
	for (unsigned int way = 0; way < 16; way++) {
		const bool fails[2] = {way & 1, way & 2};
		const unsigned int first = way & 4 ? 0 : 1;
		struct mmu_notifier_range range[2];
		struct check_reg *reg = registered(0, 2, CHECK_UNSEEN_USES);

		file->counts.changes = 0;
		for (unsigned int i = 0; i < 2; i++) {
			/* The second one may be of a part. */
			range[i] =
				begun(MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, 0, i && way & 8 ? 1 : 2);
			CHECK_ERR(mmu_notifier_invalidate_range_start(&range[i]), 0);
		}
		over(&range[first], fails[first]);
		over(&range[!first], fails[!first]);
		CHECK_MSG(!file->counts.changes == (fails[0] && fails[1]), "%u", way);
		check_reg_end(reg);
	}
}
TWIN(of_two_that_overlap_one_suffices, failed, BREAK(CHECK_FAILED));

/* Nobody knows yet whether it will be one: what is there counts as what was. What is gone is gone. */
TEST(a_use_beside_a_call_is_stale_if_the_page_is_gone)
{
	struct mmu_notifier_range range, other;
	struct check_reg *reg;

	open_log();
	reg = registered(0, 2, 0);
	range = begun(MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, 0, 2);
	other = begun(MMU_NOTIFY_UNMAP, MRN_CAUSE_MAP_FIXED, 0, 2);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&other), 0);
	check_use(reg, addr(0), at(2), "there");
	CHECK(!only(CHECK_USE));
	over(&other, true);
	CHECK_EQ(munmap((void *)addr(1), at(1)), 0);
	check_use(reg, addr(0), at(1), "there");
	CHECK(!only(CHECK_USE));
	check_use(reg, addr(0), at(2), "gone");
	CHECK(only(CHECK_USE));
	CHECK_EQ(only(CHECK_USE)->changed_start, addr(1));
	over(&range, false);
}
TWIN(a_use_beside_a_call_is_stale_if_the_page_is_gone, nested, BREAK(CHECK_NESTED));

/* Without numbers; with them, what is there is known to be the same. */
TEST(a_use_beside_a_call_that_fails_is_none_of_changed_memory)
{
	struct mmu_notifier_range range;
	struct check_reg *reg;

	open_log();
	CHECK(geteuid() || (!setregid(65534, 65534) && !setreuid(65534, 65534)));
	/* Else the page map would be root's. */
	CHECK_EQ(prctl(PR_SET_DUMPABLE, 1), 0);
	reg = registered(0, 2, 0);
	range = begun(MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, 0, 2);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	check_use(reg, addr(0), at(2), "there");
	CHECK(!only(CHECK_USE));
	over(&range, true);
	check_use(reg, addr(0), at(2), "there");
	CHECK(!only(CHECK_USE));
}
TWIN(a_use_beside_a_call_that_fails_is_none_of_changed_memory, open, BREAK(CHECK_OPEN_USE));

/* Whatever else was done from the same place. */
TEST(a_report_is_of_the_memory_that_was_changed)
{
	const struct check_finding *f;

	open_log();
	for (size_t i = 0; i < 4; i++) {
		const size_t first = 4 * i;
		struct check_reg *reg = registered(first, 2 + i, CHECK_UNSEEN_USES);
		struct mmu_notifier_range range =
			begun(MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, first + 1, 1);
		uint32_t flight = check_flight_begin(CHECK_IO_URING, addr(first) + i, at(2), "READ",
						     &(uint32_t){0});

		CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
		CHECK_EQ(only_open(CHECK_CHANGE)->start, addr(first));
		CHECK_EQ(only_open(CHECK_FLIGHT)->used_start, addr(first) + i);
		/* The second one ends meanwhile; of the first and the last nothing is changed. */
		if (i == 1)
			check_reg_end(reg);
		over(&range, i != 1 && i != 2);
		if (i != 1)
			check_reg_end(reg);
		check_flight_end(flight);
	}
	f = only(CHECK_CHANGE);
	CHECK(f);
	CHECK_EQ(f->count, 1);
	CHECK_EQ(f->start, addr(8));
	CHECK_EQ(f->length, at(4));
	CHECK_EQ(f->changed_start, addr(9));
	f = only(CHECK_FLIGHT);
	CHECK(f);
	CHECK_EQ(f->count, 2);
	CHECK_EQ(f->used_start, addr(4) + 1);
}
TWIN(a_report_is_of_the_memory_that_was_changed, failed, BREAK(CHECK_FAILED));

/* Fail closed: nobody could say later that it was none. */
TEST(what_finds_no_room_while_it_is_open_is_found)
{
	enum { N = CHECK_OPEN_MAX + 3 };
	static uint32_t number[N];
	const struct check_finding f = {.grade = CHECK_CHANGE};

	open_log();
	for (size_t i = 0; i < N; i++) {
		number[i] = check_finding_open(&f, NULL);
		CHECK_EQ(!number[i], i >= CHECK_OPEN_MAX);
	}
	for (size_t i = 0; i < N; i++)
		check_finding_close(number[i], i == 7 ? CHECK_FOUND : CHECK_NOT_FOUND);
	CHECK_EQ(only(CHECK_CHANGE)->count, 4);
	CHECK_EQ(file->findings, 1);
	CHECK(check_finding_open(&f, NULL));
}

static void take_away(void *start, size_t length)
{
	CHECK_EQ(munmap(start, length), 0);
}

enum verdict { NONE, FOUND, UNSURE };

static enum verdict verdict_of(enum check_grade grade)
{
	const struct check_finding *f = only(grade);

	return !f ? NONE : f->unsure ? UNSURE : FOUND;
}

/* As a handler jumps out of it; what follows in the same place of the stack is another. */
TEST(a_call_that_is_left_is_judged_by_what_is_there)
{
	static const struct {
		enum mmu_notifier_event event;
		enum mrn_cause cause;
		unsigned int flags;
		void (*change)(void *start, size_t length); /* before it is left */
		enum verdict changed, in_flight;
	} row[] = {
		{MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, 0, NULL, NONE, UNSURE},
		{MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, 0, take_away, FOUND, FOUND},
		{MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, MRN_RANGE_AFTER, NULL, FOUND, FOUND},
		{MMU_NOTIFY_UNMAP, MRN_CAUSE_MAP_FIXED, 0, NULL, UNSURE, UNSURE},
		{MMU_NOTIFY_UNMAP, MRN_CAUSE_MAP_FIXED, 0, replace, UNSURE, UNSURE},
		{MMU_NOTIFY_CLEAR, MRN_CAUSE_DONTNEED, 0, NULL, UNSURE, UNSURE},
		{MMU_NOTIFY_CLEAR, MRN_CAUSE_DONTNEED, 0, drop, FOUND, FOUND},
	};

	open_log();
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct mmu_notifier_range range = begun(row[i].event, row[i].cause, 0, 2);
		struct check_reg *reg = registered(0, 2, CHECK_UNSEEN_USES);
		struct check_reg *other = registered(4, 2, 0);
		uint32_t flight =
			check_flight_begin(CHECK_IO_URING, addr(0), 10, "READ", &(uint32_t){0});

		range.flags = row[i].flags;
		CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
		CHECK(only_open(CHECK_CHANGE) && only_open(CHECK_FLIGHT));
		if (row[i].change)
			row[i].change(memory, at(2));
		range = begun(MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, 4, 2);
		CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
		over(&range, true);
		CHECK_MSG(verdict_of(CHECK_CHANGE) == row[i].changed, "row %zu", i);
		CHECK_MSG(verdict_of(CHECK_FLIGHT) == row[i].in_flight, "row %zu", i);
		check_flight_end(flight);
		check_reg_end(other);
		check_reg_end(reg);
		memset(file->finding, 0, sizeof(file->finding));
		CHECK(mmap(memory, at(2), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == memory);
		memset(memory, 1, at(2));
	}
}
TWIN(a_call_that_is_left_is_judged_by_what_is_there, left, BREAK(CHECK_LEFT));

/* Only their numbers tell which pages are there. */
TEST(what_a_call_that_is_left_may_have_taken_is_in_doubt)
{
	struct mmu_notifier_range range;
	struct check_reg *reg;
	uint64_t entry;
	int fd;

	open_log();
	fd = mrn_pagemap_open();
	if (fd < 0 || mrn_pagemap_read(fd, addr(0), 1, &entry) || !(entry & MRN_PAGEMAP_FRAME))
		SKIP("the page map shows no frame numbers: needs CAP_SYS_ADMIN");
	reg = registered(0, 2, 0);
	registered(4, 2, 0);
	range = begun(MMU_NOTIFY_UNMAP, MRN_CAUSE_MAP_FIXED, 0, 2);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	replace((void *)addr(1), at(1));
	range = begun(MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, 4, 2);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	over(&range, true);
	check_use(reg, addr(0), at(1), "kept");
	CHECK(!only(CHECK_USE));
	check_use(reg, addr(0), at(2), "taken");
	CHECK(only(CHECK_USE));
	CHECK_EQ(only(CHECK_USE)->cause, MRN_CAUSE_MAP_FIXED);
	CHECK(only(CHECK_USE)->changed);
}
TWIN(what_a_call_that_is_left_may_have_taken_is_in_doubt, unasked, BREAK(CHECK_NUMBERS));

/* Since then its memory may have been unmapped rightly. */
TEST(of_a_flight_that_has_landed_what_is_there_says_nothing)
{
	struct mmu_notifier_range range;
	uint32_t flight;

	open_log();
	registered(4, 2, 0);
	flight = check_flight_begin(CHECK_IO_URING, addr(0), 10, "READ", &(uint32_t){0});
	range = begun(MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, 0, 2);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	check_flight_end(flight);
	take_away(memory, at(2));
	range = begun(MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, 4, 2);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	over(&range, true);
	CHECK_EQ(verdict_of(CHECK_FLIGHT), UNSURE);
}
TWIN(of_a_flight_that_has_landed_what_is_there_says_nothing, left, BREAK(CHECK_LEFT));

/* Its place is another's when the change ends. */
TEST(what_is_registered_during_a_change_is_not_changed_by_its_end)
{
	struct mmu_notifier_range range, other;
	struct check_reg *reg;

	open_log();
	reg = registered(0, 2, CHECK_UNSEEN_USES);
	range = begun(MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, 0, 2);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	check_reg_end(reg);
	CHECK(registered(0, 2, CHECK_UNSEEN_USES) == reg);
	other = begun(MMU_NOTIFY_UNMAP, MRN_CAUSE_MAP_FIXED, 0, 2);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&other), 0);
	over(&range, false);
	over(&other, true);
	check_use(reg, addr(0), at(2), "again");
	CHECK(!only(CHECK_USE));
	CHECK(!only(CHECK_CHANGE));
}
TWIN(what_is_registered_during_a_change_is_not_changed_by_its_end, lives, BREAK(CHECK_LIVES));

static void register_in_handler(int sig)
{
	(void)sig;
	check_reg_end(registered(8, 1, 0));
}

/* As a call of the program's is caught in a handler of its own, which has interrupted it where it registers. */
TEST(a_handler_registers_while_its_thread_does, .timeout_s = 20)
{
	const struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
	struct sigaction act = {.sa_handler = register_in_handler};

	open_log();
	CHECK_EQ(sigaction(SIGALRM, &act, NULL), 0);
	CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
	for (int i = 0; i < (test_is_sanitized() ? 2000 : 10000); i++)
		check_reg_end(registered(0, 1, 0));
	CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
}
TWIN(a_handler_registers_while_its_thread_does, open, BREAK(CHECK_SIGNALS), .accept_timeout = true,
     .timeout_s = 5);

/* The pages of shared memory are the file's, before and after. */
TEST(a_discard_in_flight_leaves_shared_memory_its_pages)
{
	open_log();
	CHECK(mmap(memory, at(1), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED,
		   -1, 0) == memory);
	*memory = 1;
	CHECK(check_flight_begin(CHECK_IO_URING, addr(0), 10, "READ", &(uint32_t){0}));
	announce(MMU_NOTIFY_CLEAR, MRN_CAUSE_DONTNEED, 0, 1, NULL);
	CHECK(!only(CHECK_FLIGHT));
	announce(MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, 0, 1, NULL);
	CHECK(only(CHECK_FLIGHT));
}
TWIN(a_discard_in_flight_leaves_shared_memory_its_pages, spared, BREAK(CHECK_SPARED));

static struct check_reg *ended_inside;

static bool end_inside(struct mmu_range_notifier *n, const struct mmu_notifier_range *range,
		       uint64_t seq)
{
	(void)range;
	mmu_range_notifier_update_seq(n, seq);
	check_reg_end(ended_inside);
	return true;
}

/* A consumer of mrn's own ends its registration when its memory is about to change, as it should. */
TEST(one_that_is_ended_in_a_callback_has_not_changed)
{
	static const struct mmu_range_notifier_ops consumer = {.invalidate = end_inside};
	static struct mmu_range_notifier own = {.ops = &consumer};
	struct check_reg *first = NULL;

	open_log();
	CHECK_ERR(mmu_range_notifier_insert(&own, addr(0), at(1), mrn_mm_self()), 0);
	for (int i = 0; i < 100; i++) {
		ended_inside = registered(1, 1, CHECK_UNSEEN_USES);
		/* The memory of an early one serves again. */
		if (i == 2)
			first = ended_inside;
		CHECK(i < 3 || ended_inside != NULL);
		announce(MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, 0, 2, NULL);
		check_reg_end(registered(3, 1, 0));
	}
	CHECK(!only(CHECK_CHANGE));
	CHECK(first);
}
TWIN(one_that_is_ended_in_a_callback_has_not_changed, late, BREAK(CHECK_LATE));

static uint32_t placed;
static size_t placed_at;

static void place(const struct mmu_notifier_range *range)
{
	(void)range;
	check_flight_place(placed, addr(placed_at), 10);
}

/* Another page at the address does as well. */
TEST(a_flight_is_where_it_is_placed_at_a_change)
{
	open_log();
	check_flight_places(place);
	placed = check_flight_open(CHECK_IO_URING, "RECV", &(uint32_t){0});
	CHECK(placed);
	placed_at = 1;
	dontneed(0, 3);
	announce(MMU_NOTIFY_UNMAP, MRN_CAUSE_MAP_FIXED, 0, 3, NULL);
	announce(MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, 2, 3, NULL);
	CHECK(!only(CHECK_FLIGHT));
	placed_at = 2;
	for (int i = 0; i < 2; i++)
		announce(MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, 2, 3, NULL);
	CHECK(only(CHECK_FLIGHT));
	CHECK_EQ(only(CHECK_FLIGHT)->count, 1);
	CHECK_EQ(only(CHECK_FLIGHT)->used_start, addr(2));
	check_flight_place(placed, 0, 0);
	check_flight_end(placed);
}
TWIN(a_flight_is_where_it_is_placed_at_a_change, discarded, BREAK(CHECK_PLACED));

static uint32_t late;

static bool end_late(void)
{
	check_flight_end(late);
	return true;
}

TEST(what_has_landed_may_change)
{
	open_log();
	check_flight_on_change(end_late);
	for (int i = 0; i < 100; i++) {
		uint32_t flight =
			check_flight_begin(CHECK_IO_URING, addr(i % 8), 10, "READ", &(uint32_t){0});

		/* This one has ended, but nobody has looked. */
		late = check_flight_begin(CHECK_IO_URING, addr(8), 10, "READ", &(uint32_t){0});
		check_flight_end(flight);
		dontneed(0, 9);
	}
	CHECK(!only(CHECK_FLIGHT));
	CHECK_EQ(file->counts.flights, 200);
}
TWIN(what_has_landed_may_change, ended, BREAK(CHECK_ENDED));

static bool cannot_look(void)
{
	return false;
}

TEST(what_may_have_landed_may_change)
{
	open_log();
	check_flight_on_change(cannot_look);
	CHECK(check_flight_begin(CHECK_IO_URING, addr(1), 10, "READ", &(uint32_t){0}));
	dontneed(0, 3);
	CHECK(!only(CHECK_FLIGHT));
	CHECK_EQ(file->counts.given_up, 1);
}
TWIN(what_may_have_landed_may_change, sure, BREAK(CHECK_DOUBT));

/* ----------------------------------------------------------------------------------- many at once */

/* Each place at most once in somebody's hands. */
struct thing {
	struct check_pooled pooled;
	uint32_t taken;
};

static struct check_pool things = CHECK_POOL(struct thing, pooled);

/* The addresses that a program has freed stay free, however many things there come to be meanwhile. */
TEST(what_grows_takes_no_hole)
{
	enum { HOLES = 8, HOLE = 65536, MANY = 200000, SINGLE = 1000 };
	char *hole[HOLES];

	mrn_pages_keep();
	for (size_t i = 0; i < HOLES; i++) {
		hole[i] = mmap(NULL, 3 * HOLE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(hole[i] != MAP_FAILED);
		hole[i] += HOLE;
		CHECK_EQ(munmap(hole[i], HOLE), 0);
	}
	for (size_t i = 0; i < MANY; i++)
		CHECK(check_pool_get(&things));
	for (size_t i = 0; i < SINGLE; i++)
		CHECK(mrn_pages_alloc(1));
	CHECK(mrn_pages_alloc(32 << 20));
	for (size_t i = 0; i < HOLES; i++)
		CHECK(mmap(hole[i], HOLE, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == hole[i]);
}
TWIN(what_grows_takes_no_hole, unkept, BREAK(PAGES_KEPT));

static size_t mapped_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	size_t pages = 0;

	CHECK(f && fscanf(f, "%zu", &pages) == 1);
	fclose(f);
	return pages * mrn_page_size();
}

/* What is in use stays, and comes back later; and what comes later is mapped elsewhere. */
TEST(kept_addresses_are_given_back)
{
	const size_t sizes[] = {4096, 65536, 8 << 20}, before = mapped_bytes();
	char *used[3], *later;

	mrn_pages_keep();
	CHECK(mapped_bytes() >= before + (128 << 20));
	for (size_t i = 0; i < 3; i++) {
		used[i] = mrn_pages_alloc(sizes[i]);
		used[i][sizes[i] - 1] = 'A';
	}
	mrn_pages_give_back();
	CHECK(mapped_bytes() <= before + (12 << 20));
	for (size_t i = 0; i < 3; i++) {
		later = mrn_pages_alloc(sizes[i]);
		CHECK(later && !later[sizes[i] - 1]);
		CHECK_EQ(used[i][sizes[i] - 1], 'A');
		mrn_pages_free(used[i], sizes[i]);
		mrn_pages_free(later, sizes[i]);
	}
	mrn_pages_give_back();
	CHECK(mapped_bytes() <= before + (12 << 20));
}

/* What is given back is taken again, and found zeroed; what is beside it stays. */
TEST(kept_pages_come_again)
{
	static const size_t sizes[] = {4096, 5 * 4096, 65536, 3 * 65536 + 4096, 8 << 20};
	char *p[3];

	mrn_pages_keep();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (size_t k = 0; k < 3; k++) {
			p[k] = mrn_pages_alloc(sizes[i]);
			CHECK(p[k] && !p[k][0] && !p[k][sizes[i] - 1]);
			p[k][0] = p[k][sizes[i] - 1] = (char)(k + 1);
		}
		mrn_pages_free(p[1], sizes[i]);
		CHECK(mrn_pages_alloc(sizes[i]) == p[1]);
		CHECK(!p[1][0] && !p[1][sizes[i] - 1]);
		CHECK(p[0][0] == 1 && p[0][sizes[i] - 1] == 1);
		CHECK(p[2][0] == 3 && p[2][sizes[i] - 1] == 3);
	}
}

static void *take_and_put(void *arg)
{
	enum { HELD = 3 };
	const int rounds = test_is_sanitized() ? 20000 : 400000;

	(void)arg;
	for (int i = 0; i < rounds; i++) {
		struct thing *held[HELD];

		for (int k = 0; k < HELD; k++) {
			held[k] = (struct thing *)check_pool_get(&things);
			CHECK(held[k]);
			CHECK_EQ(__atomic_exchange_n(&held[k]->taken, 1, __ATOMIC_RELAXED), 0);
		}
		/* In the order that brings the list's head back to what it was. */
		for (int k = 0; k < HELD; k++) {
			CHECK_EQ(__atomic_exchange_n(&held[k]->taken, 0, __ATOMIC_RELAXED), 1);
			check_pool_put(&things, &held[k]->pooled);
		}
	}
	return NULL;
}

TEST(nobody_gets_what_another_has, .timeout_s = 120)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, take_and_put, NULL), 0);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_join(t[i], NULL), 0);
	/* No more than were held at a time, as chunks. */
	CHECK(things.chunks <= 4);
}

static struct thing *kept;

/* Takes two, and puts the first back: the list's head is what it was, but what follows it is in use. */
static void meanwhile(void)
{
	struct check_pooled *first;

	mrn_check_pool_takes_hook = NULL;
	first = check_pool_get(&things);
	kept = (struct thing *)check_pool_get(&things);
	kept->taken = 1;
	check_pool_put(&things, first);
}

TEST(a_head_that_has_come_back_is_another)
{
	struct thing *mine[2];

	check_pool_put(&things, check_pool_get(&things));
	mrn_check_pool_takes_hook = meanwhile;
	for (int i = 0; i < 2; i++) {
		mine[i] = (struct thing *)check_pool_get(&things);
		CHECK(!mine[i]->taken);
		mine[i]->taken = 1;
	}
	CHECK(kept && !mrn_check_pool_takes_hook);
}
TWIN(a_head_that_has_come_back_is_another, head, BREAK(CHECK_POOL));

static void *register_many(void *arg)
{
	const size_t page = 4 * (size_t)(uintptr_t)arg;
	const int rounds = test_is_sanitized() ? 2000 : 30000;

	for (int i = 0; i < rounds; i++) {
		struct check_reg *reg = registered(page, 1 + (size_t)i % 4, 0);

		check_use(reg, addr(page), 100, "mine");
		dontneed(page, 1);
		check_use(reg, addr(page), 100, "stale");
		check_reg_end(reg);
	}
	return NULL;
}

/* No memory but for those at a time, no report lost, and none too many. */
TEST(threads_register_change_and_use, .timeout_s = 300)
{
	const uint64_t each = test_is_sanitized() ? 2000 : 30000;
	uint64_t count = 0;
	pthread_t t[4];

	open_log();
	for (uintptr_t i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, register_many, (void *)i), 0);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_join(t[i], NULL), 0);
	for (size_t i = 0; i < CHECK_FINDINGS; i++) {
		if (!file->finding[i].key)
			continue;
		CHECK(!strcmp(file->finding[i].op, "stale"));
		count += file->finding[i].count;
	}
	CHECK_EQ(count, 4 * each);
	CHECK_EQ(file->counts.registrations, 4 * each);
	CHECK_EQ(file->counts.no_memory, 0);
	CHECK_EQ(file->counts.no_stack, 0);
}
TWIN(threads_register_change_and_use, unnoted, BREAK(CHECK_CHANGES));
