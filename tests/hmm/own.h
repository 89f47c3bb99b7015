/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What tests of hmm_range_fault on the memory of this process share: a consumer, memory of every kind, and
 * the same test on kernels that have less.
 */
#ifndef TESTS_HMM_OWN_H
#define TESTS_HMM_OWN_H

#include <mrn/hmm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fixture.h"
#include "hmm/own.h"
#include "os/pagemap.h"
#include "os/syscall.h"

#define RW   (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

#define READ  HMM_PFN_REQ_FAULT
#define WRITE (HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE)

/* Linux 6.13. */
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

/* The newest kernel's ways, and those of two older ones: 6.7 to 6.10, and before 6.7. */
#define TEST_EACH_KERNEL(name, ...)     \
	static void each_##name(void);  \
	TEST(name, ##__VA_ARGS__)       \
	{                               \
		each_##name();          \
	}                               \
	TEST(name##_6_7, ##__VA_ARGS__) \
	{                               \
		BREAK(PROCMAP_QUERY);   \
		each_##name();          \
	}                               \
	TEST(name##_6_1, ##__VA_ARGS__) \
	{                               \
		BREAK(PROCMAP_QUERY);   \
		BREAK(PAGEMAP_SCAN);    \
		each_##name();          \
	}                               \
	static void each_##name(void)

HELPER int fault(struct hmm_range *range)
{
	return hmm_range_fault(range);
}

/* ---------------------------------------------------------------------------------------- a viewer */

static pthread_mutex_t driver_lock = PTHREAD_MUTEX_INITIALIZER;

HELPER bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	pthread_mutex_lock(&driver_lock);
	mmu_range_notifier_update_seq(mrn, cur_seq);
	pthread_mutex_unlock(&driver_lock);
	return true;
}

static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};

struct view {
	struct mmu_range_notifier mrn;
	struct hmm_range range;
	unsigned long *pfns;
};

HELPER void view_open(struct view *v, const void *p, size_t n)
{
	memset(v, 0, sizeof(*v));
	v->mrn.ops = &ops;
	v->mrn.driver_lock = &driver_lock;
	v->pfns = calloc(n, sizeof(*v->pfns));
	CHECK(v->pfns);
	v->range = (struct hmm_range){
		.notifier = &v->mrn,
		.start = (uintptr_t)p,
		.end = (uintptr_t)p + PAGE(n),
		.hmm_pfns = v->pfns,
	};
	CHECK_ERR(mmu_range_notifier_insert(&v->mrn, (uintptr_t)p, PAGE(n), mrn_mm_self()), 0);
}

HELPER void view_close(struct view *v)
{
	CHECK_ERR(mmu_range_notifier_remove(&v->mrn), 0);
	free(v->pfns);
}

/* The same of all pages. */
HELPER int ask(struct view *v, unsigned long request)
{
	v->range.default_flags = request;
	v->range.pfn_flags_mask = 0;
	v->range.notifier_seq = mmu_range_read_begin(&v->mrn);
	return fault(&v->range);
}

HELPER unsigned long flags(const struct view *v, size_t i)
{
	return v->pfns[i] & (HMM_PFN_VALID | HMM_PFN_WRITE | HMM_PFN_ERROR);
}

#define CHECK_FLAGS(v, i, want) \
	CHECK_MSG(flags(v, i) == (want), "page %zu: %#lx", (size_t)(i), (v)->pfns[i])

/* All of [from, to) are as this. */
HELPER void check_all(const struct view *v, size_t from, size_t to, unsigned long want)
{
	for (size_t i = from; i < to; i++)
		CHECK_FLAGS(v, i, want);
}

/* A view for one question, of which the answers stay. */
static unsigned long pfn[64];

HELPER int ask_once(const void *p, size_t n, unsigned long request)
{
	struct view v;
	int r;

	CHECK(n <= 64);
	view_open(&v, p, n);
	r = ask(&v, request);
	memcpy(pfn, v.pfns, n * sizeof(*pfn));
	view_close(&v);
	return r;
}

HELPER unsigned long answer(size_t i)
{
	return pfn[i] & (HMM_PFN_VALID | HMM_PFN_WRITE | HMM_PFN_ERROR);
}

#define CHECK_ANSWER(i, want) CHECK_MSG(answer(i) == (want), "page %d: %#lx", (int)(i), pfn[i])

/* ------------------------------------------------------------------------------------------ memory */

/*
 * Where the kernel, asked for any address, puts nothing in any layout: a hole that a test makes stays one.
 * Not where a huge page could begin.
 */
static uintptr_t stage = 0x7e9000001000;

HELPER char *map(size_t n, int prot, int how, int fd)
{
	char *p = mmap((void *)stage, PAGE(n), prot, how | MAP_FIXED_NOREPLACE, fd, 0);

	CHECK_MSG(p == (char *)stage, "%m");
	/* Fails where there are none anyway. */
	madvise(p, PAGE(n), MADV_NOHUGEPAGE);
	stage += PAGE(n + 1);
	return p;
}

HELPER uint64_t entry_of(const void *p)
{
	int fd = mrn_pagemap_open();
	uint64_t e;

	CHECK(fd >= 0);
	CHECK_ERR(mrn_pagemap_read(fd, (uintptr_t)p, 1, &e), 0);
	close(fd);
	return e;
}

/* For what depends on memory being read before it is written. */
HELPER void zero_page_or_skip(void)
{
	char *p = map(1, RW, ANON, -1);

	CHECK_EQ(*(volatile char *)p, 0);
	if (entry_of(p) & MRN_PAGEMAP_EXCLUSIVE)
		SKIP("this kernel has no zero page: what is read gets a page of its own");
	CHECK_EQ(munmap(p, PAGE(1)), 0);
}

HELPER bool is_there(const void *p)
{
	return entry_of(p) & MRN_PAGEMAP_PRESENT;
}

/* Past every interposer and every announcement: what nobody tells of. */
HELPER void zap(const void *p, size_t n)
{
	CHECK_EQ(mrn_sys3(SYS_madvise, (long)p, (long)PAGE(n), MADV_DONTNEED), 0);
}

HELPER void touch(char *p)
{
	*(volatile char *)p = 1;
}

/* A file of n pages and a half, each of which holds its number + 1. */
HELPER int make_file(size_t n)
{
	FILE *f = tmpfile();
	int fd;

	CHECK(f);
	fd = dup(fileno(f));
	fclose(f);
	CHECK(fd >= 0);
	for (size_t i = 0; i < n; i++) {
		char c = (char)(i + 1);

		CHECK_EQ(pwrite(fd, &c, 1, (off_t)PAGE(i)), 1);
	}
	CHECK_EQ(ftruncate(fd, (off_t)(PAGE(n) + PAGE(1) / 2)), 0);
	return fd;
}

/* Two blocks that are or are going to be huge pages, where there are any. */
#define HUGE (PAGE(512))

HELPER char *map_huge(void)
{
	char *p = map(3 * 512, RW, ANON, -1);

	p = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	CHECK_EQ(madvise(p, 2 * HUGE, MADV_HUGEPAGE), 0);
	return p;
}

HELPER bool is_huge(const void *p)
{
	struct mrn_pagemap_region region;
	uintptr_t walked;
	int fd = mrn_pagemap_open();
	long n = mrn_pagemap_scan(fd, (uintptr_t)p, (uintptr_t)p + PAGE(1), &region, 1, &walked);

	close(fd);
	return n == 1 && (region.categories & MRN_PAGE_IS_HUGE);
}

/* Does what is tested have PAGEMAP_SCAN to ask? */
HELPER bool has_scan(void)
{
	struct mrn_pagemap_region region;
	uintptr_t walked;
	int fd = mrn_pagemap_open();
	long n = mrn_pagemap_scan(fd, 0, PAGE(1), &region, 1, &walked);

	close(fd);
	return n >= 0 && !MRN_BROKEN(PAGEMAP_SCAN);
}

/* ---------------------------------------------------------------------------------------- children */

HELPER int child_status(pid_t child)
{
	int status;

	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_MSG(WIFEXITED(status), "status %#x", status);
	return WEXITSTATUS(status);
}

/* Both ends close-on-exec; one byte is "go on". */
HELPER void tell(int fd)
{
	CHECK_EQ(write(fd, "", 1), 1);
}

HELPER void await(int fd)
{
	char c;

	CHECK_EQ(read(fd, &c, 1), 1);
}

#endif
