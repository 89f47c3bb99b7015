/* SPDX-License-Identifier: BSD-3-Clause */
/* hmm_range_fault on the memory of this process: every kind of memory, every flag, every error. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <mrn/hmm.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/harness/break.h"
#include "tests/harness/sync.h"
#include "tests/hmm/own.h"
#include "os/maps.h"
#include "os/pagemap.h"
#include "os/syscall.h"
#include "os/uffd.h"

/* ------------------------------------------------------------------------- what is there, what is asked */

TEST_EACH_KERNEL(untouched_memory)
{
	char *p = map(4, RW, ANON, -1);

	zero_page_or_skip();
	CHECK_ERR(ask_once(p, 4, 0), 0);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pfn[i], 0);
	CHECK(!is_there(p));
	/* The zero page: a write would put another one there. */
	CHECK_ERR(ask_once(p, 4, READ), 0);
	for (int i = 0; i < 4; i++)
		CHECK_ANSWER(i, HMM_PFN_VALID);
	CHECK(is_there(p + PAGE(3)));
	CHECK_ERR(ask_once(p, 4, 0), 0);
	for (int i = 0; i < 4; i++)
		CHECK_ANSWER(i, HMM_PFN_VALID);
	CHECK_ERR(ask_once(p, 4, WRITE), 0);
	for (int i = 0; i < 4; i++)
		CHECK_ANSWER(i, HMM_PFN_VALID | HMM_PFN_WRITE);
	for (size_t i = 0; i < PAGE(4); i++)
		CHECK_EQ(p[i], 0);
}

TEST_EACH_KERNEL(touched_memory)
{
	char *p = map(3, RW, ANON, -1);

	zero_page_or_skip();
	touch(p + PAGE(1));
	CHECK_ERR(ask_once(p, 3, 0), 0);
	CHECK_ANSWER(0, 0);
	CHECK_ANSWER(1, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_ANSWER(2, 0);
	CHECK_EQ(hmm_pfn_to_map_order(pfn[1]), 0);
	CHECK_ERR(ask_once(p, 3, READ), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID);
	CHECK_ANSWER(1, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_EQ(p[PAGE(1)], 1);
}

TEST_EACH_KERNEL(holes)
{
	char *p = map(6, RW, ANON, -1);

	touch(p);
	touch(p + PAGE(3));
	CHECK_EQ(munmap(p + PAGE(1), PAGE(2)), 0);
	CHECK_EQ(munmap(p + PAGE(5), PAGE(1)), 0);
	CHECK_ERR(ask_once(p, 6, 0), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_EQ(pfn[1], HMM_PFN_ERROR);
	CHECK_EQ(pfn[2], HMM_PFN_ERROR);
	CHECK_ANSWER(3, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_ANSWER(4, 0);
	CHECK_EQ(pfn[5], HMM_PFN_ERROR);
	CHECK_ERR(ask_once(p, 6, READ), -EFAULT);
	CHECK_ERR(ask_once(p + PAGE(1), 1, READ), -EFAULT);
	CHECK_ERR(ask_once(p + PAGE(1), 1, WRITE), -EFAULT);
	CHECK_ERR(ask_once(p + PAGE(3), 2, WRITE), 0);
	CHECK_ERR(ask_once(p + PAGE(3), 3, WRITE), -EFAULT);
	CHECK_ERR(ask_once(p + PAGE(1), 2, 0), 0);
	CHECK_EQ(pfn[1], HMM_PFN_ERROR);
}

/* Beyond the last mapping that there is. */
TEST_EACH_KERNEL(the_end_of_the_address_space)
{
	const uintptr_t last = (UINT64_C(1) << 47) - PAGE(2);

	/* Sanitizers switch the random layout off, and then the stack may end there. */
	if (!msync((void *)last, PAGE(1), MS_ASYNC))
		SKIP("something is mapped at the end of the address space");
	CHECK_ERR(ask_once((void *)last, 1, 0), 0);
	CHECK_EQ(pfn[0], HMM_PFN_ERROR);
	CHECK_ERR(ask_once((void *)last, 1, READ), -EFAULT);
	CHECK_ERR(ask_once((void *)(UINTPTR_MAX - PAGE(4) + 1), 3, 0), 0);
	CHECK_EQ(pfn[2], HMM_PFN_ERROR);
}

TEST_EACH_KERNEL(no_access)
{
	char *p = map(2, RW, ANON, -1);

	touch(p);
	CHECK_EQ(mprotect(p, PAGE(2), PROT_NONE), 0);
	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK_EQ(pfn[0], HMM_PFN_ERROR);
	CHECK_EQ(pfn[1], HMM_PFN_ERROR);
	CHECK_ERR(ask_once(p, 2, READ), -EFAULT);
	CHECK_ERR(ask_once(p, 2, WRITE), -EFAULT);
	CHECK_EQ(mprotect(p, PAGE(2), PROT_EXEC), 0);
	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK_EQ(pfn[0], HMM_PFN_ERROR);
	CHECK_EQ(mprotect(p, PAGE(2), RW), 0);
	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
}

TEST_EACH_KERNEL(read_only)
{
	char *p = map(3, RW, ANON, -1);

	touch(p);
	CHECK_EQ(mprotect(p, PAGE(2), PROT_READ), 0);
	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID);
	CHECK_ANSWER(1, 0);
	CHECK_ERR(ask_once(p, 1, WRITE), -EPERM);
	CHECK_ERR(ask_once(p, 3, WRITE), -EPERM);
	CHECK(!is_there(p + PAGE(1)));
	CHECK_ERR(ask_once(p, 2, READ), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID);
	CHECK_ANSWER(1, HMM_PFN_VALID);
	CHECK_EQ(mprotect(p, PAGE(2), RW), 0);
	CHECK_ERR(ask_once(p, 3, WRITE), 0);
	CHECK_ANSWER(1, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_EQ(p[0], 1);
}

/* The processor reads it, so it is readable, though the kernel has no read of it in /proc. */
TEST_EACH_KERNEL(write_only)
{
	char *p = map(2, PROT_WRITE, ANON, -1);

	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK_EQ(pfn[0], 0);
	CHECK_ERR(ask_once(p, 1, READ), 0);
	CHECK(answer(0) & HMM_PFN_VALID);
	CHECK_EQ(*(volatile char *)p, 0);
	CHECK_ERR(ask_once(p, 2, WRITE), 0);
	CHECK_ANSWER(1, HMM_PFN_VALID | HMM_PFN_WRITE);
}

TEST_EACH_KERNEL(shared_memory)
{
	char *p = map(2, RW, MAP_SHARED | MAP_ANONYMOUS, -1);

	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK_EQ(pfn[0], 0);
	/* A page that is shared anyway is not copied. */
	CHECK_ERR(ask_once(p, 1, READ), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_ERR(ask_once(p, 2, WRITE), 0);
	CHECK_ANSWER(1, HMM_PFN_VALID | HMM_PFN_WRITE);
	/* In the file, but not in the page table. */
	zap(p, 2);
	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK_EQ(pfn[1], 0);
	CHECK_EQ(mprotect(p, PAGE(2), PROT_READ), 0);
	CHECK_ERR(ask_once(p, 2, READ), 0);
	CHECK_ANSWER(1, HMM_PFN_VALID);
	CHECK_ERR(ask_once(p, 2, WRITE), -EPERM);
}

static void file_shared(int fd)
{
	char *p = map(2, RW, MAP_SHARED, fd), *q;

	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK_EQ(pfn[0], 0);
	CHECK_ERR(ask_once(p, 2, READ), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_ERR(ask_once(p, 2, WRITE), 0);
	CHECK_ANSWER(1, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_EQ(p[PAGE(1)], 2);
	/* Another mapping of the same pages changes nothing about it. */
	q = map(2, PROT_READ, MAP_SHARED, fd);
	CHECK_ERR(ask_once(q, 2, READ), 0);
	CHECK_ANSWER(1, HMM_PFN_VALID);
	CHECK_ERR(ask_once(q, 2, WRITE), -EPERM);
	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK_ANSWER(1, HMM_PFN_VALID | HMM_PFN_WRITE);
}

static void file_private(int fd)
{
	char *p = map(2, RW, MAP_PRIVATE, fd), c;

	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK_EQ(pfn[0], 0);
	/* The file's own page, mapped by nobody else: a write would copy it all the same. */
	CHECK_ERR(ask_once(p, 2, READ), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID);
	CHECK_ANSWER(1, HMM_PFN_VALID);
	CHECK_ERR(ask_once(p, 1, WRITE), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_ANSWER(1, HMM_PFN_VALID);
	p[0] = 9;
	CHECK_EQ(pread(fd, &c, 1, 0), 1);
	CHECK_EQ(c, 1);
	CHECK_EQ(mprotect(p, PAGE(2), PROT_READ), 0);
	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID);
}

TEST_EACH_KERNEL(a_regular_file)
{
	int fd = make_file(2);

	file_shared(fd);
	file_private(fd);
}

TEST_EACH_KERNEL(a_memfd)
{
	int fd = memfd_create("own", MFD_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(pwrite(fd, "\1", 1, 0), 1);
	CHECK_EQ(pwrite(fd, "\2", 1, (off_t)PAGE(1)), 1);
	CHECK_EQ(ftruncate(fd, (off_t)PAGE(2)), 0);
	file_shared(fd);
	file_private(fd);
}

TEST_EACH_KERNEL(past_the_end_of_a_file)
{
	int fd = make_file(1);
	char *p;

	for (int how = MAP_SHARED; how <= MAP_PRIVATE; how++) {
		p = map(4, RW, how, fd);
		CHECK_ERR(ask_once(p, 4, 0), 0);
		CHECK_EQ(pfn[3], 0);
		/* Half a page is a page. */
		CHECK_ERR(ask_once(p, 2, READ), 0);
		CHECK(answer(1) & HMM_PFN_VALID);
		CHECK_ERR(ask_once(p, 3, READ), -EFAULT);
		CHECK_ERR(ask_once(p, 4, WRITE), -EFAULT);
		CHECK_ERR(ask_once(p + PAGE(3), 1, READ), -EFAULT);
		CHECK_ERR(ask_once(p, 2, WRITE), 0);
	}
	/* Was there, is no more. */
	p = map(2, RW, MAP_SHARED, fd);
	CHECK_ERR(ask_once(p, 2, WRITE), 0);
	CHECK_EQ(ftruncate(fd, (off_t)PAGE(1)), 0);
	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_EQ(pfn[1], 0);
	CHECK_ERR(ask_once(p, 2, READ), -EFAULT);
}

TEST_EACH_KERNEL(guard_pages)
{
	char *p = map(3, RW, ANON, -1);

	if (madvise(p + PAGE(1), PAGE(1), MADV_GUARD_INSTALL))
		SKIP("no MADV_GUARD_INSTALL");
	CHECK_ERR(ask_once(p, 3, READ), -EFAULT);
	CHECK_ERR(ask_once(p + PAGE(1), 1, WRITE), -EFAULT);
	CHECK_ERR(ask_once(p, 3, 0), 0);
	CHECK(!(answer(1) & HMM_PFN_VALID));
	/* The kernel says which they are since 6.15. */
	if (entry_of(p + PAGE(1)) & MRN_PAGEMAP_GUARD)
		CHECK_EQ(pfn[1], HMM_PFN_ERROR);
}

/* A mapping of kernel memory, and one that has no pages at all. */
TEST_EACH_KERNEL(special_mappings)
{
	char *vdso = (char *)getauxval(AT_SYSINFO_EHDR);
	unsigned long start = 0;
	char line[512];
	FILE *f;

	if (!vdso)
		SKIP("no vDSO");
	CHECK_ERR(ask_once(vdso, 1, READ), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID);
	CHECK_ERR(ask_once(vdso, 1, WRITE), -EPERM);
	f = fopen("/proc/self/maps", "re");
	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (strstr(line, "[vvar]"))
			start = strtoul(line, NULL, 16);
	fclose(f);
	if (!start)
		SKIP("no [vvar]");
	CHECK_ERR(ask_once((void *)start, 1, READ), -EFAULT);
	CHECK_ERR(ask_once((void *)start, 1, 0), 0);
	CHECK_EQ(pfn[0], has_scan() ? HMM_PFN_ERROR : 0);
}

/* Mappings so small that the window onto them has to be moved, and regions more than a step takes. */
TEST_EACH_KERNEL(many_small_mappings)
{
	enum { N = 600 };
	char *p = map(N, RW, ANON, -1);
	struct view v;

	for (size_t i = 0; i < N; i += 3) {
		touch(p + PAGE(i));
		CHECK_EQ(mprotect(p + PAGE(i + 1), PAGE(1), PROT_READ), 0);
		CHECK_EQ(mprotect(p + PAGE(i + 2), PAGE(1), PROT_NONE), 0);
	}
	view_open(&v, p, N);
	CHECK_ERR(ask(&v, 0), 0);
	for (size_t i = 0; i < N; i += 3) {
		CHECK_FLAGS(&v, i, HMM_PFN_VALID | HMM_PFN_WRITE);
		CHECK_EQ(v.pfns[i + 1], 0);
		CHECK_EQ(v.pfns[i + 2], HMM_PFN_ERROR);
	}
	CHECK_ERR(ask(&v, READ), -EFAULT);
	for (size_t i = 0; i < N; i++)
		v.pfns[i] = i % 3 == 0 ? WRITE : i % 3 == 1 ? READ : 0;
	v.range.default_flags = 0;
	v.range.pfn_flags_mask = ~0ul;
	v.range.notifier_seq = mmu_range_read_begin(&v.mrn);
	CHECK_ERR(fault(&v.range), 0);
	for (size_t i = 0; i < N; i += 3) {
		CHECK_FLAGS(&v, i, HMM_PFN_VALID | HMM_PFN_WRITE);
		CHECK_FLAGS(&v, i + 1, HMM_PFN_VALID);
		CHECK_EQ(v.pfns[i + 2], HMM_PFN_ERROR);
	}
	view_close(&v);
}

TEST_EACH_KERNEL(every_other_page)
{
	enum { N = 1100 };
	char *p = map(N, RW, ANON, -1);
	struct view v;

	zero_page_or_skip();
	for (size_t i = 0; i < N; i += 2)
		touch(p + PAGE(i));
	view_open(&v, p, N);
	CHECK_ERR(ask(&v, 0), 0);
	for (size_t i = 0; i < N; i++)
		CHECK_FLAGS(&v, i, i % 2 ? 0 : HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_ERR(ask(&v, READ), 0);
	for (size_t i = 0; i < N; i++)
		CHECK_FLAGS(&v, i, i % 2 ? HMM_PFN_VALID : HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_ERR(ask(&v, WRITE), 0);
	check_all(&v, 0, N, HMM_PFN_VALID | HMM_PFN_WRITE);
	view_close(&v);
}

/* --------------------------------------------------------------------------------- who asks for what */

TEST_EACH_KERNEL(requests_of_pages_and_of_all)
{
	/* Of five untouched pages. HMM_PFN_ERROR and a number are no requests. */
	static const unsigned long page[] = {0, READ, WRITE, HMM_PFN_REQ_WRITE, HMM_PFN_ERROR | 77};
	static const struct {
		unsigned long mask, all, want[5];
	} row[] = {
#define R HMM_PFN_VALID
#define W (HMM_PFN_VALID | HMM_PFN_WRITE)
		{0, 0, {0, 0, 0, 0, 0}},
		{0, READ, {R, R, R, R, R}},
		{0, WRITE, {W, W, W, W, W}},
		/* As in the kernel, WRITE alone asks for nothing. */
		{0, HMM_PFN_REQ_WRITE, {0, 0, 0, 0, 0}},
		{~0ul, 0, {0, R, W, 0, 0}},
		{~0ul, READ, {R, R, W, W, R}},
		{~0ul, WRITE, {W, W, W, W, W}},
		{~0ul, HMM_PFN_REQ_WRITE, {0, W, W, 0, 0}},
		{HMM_PFN_REQ_FAULT, 0, {0, R, R, 0, 0}},
		{HMM_PFN_REQ_FAULT, HMM_PFN_REQ_WRITE, {0, W, W, 0, 0}},
		{HMM_PFN_REQ_WRITE, 0, {0, 0, 0, 0, 0}},
		{HMM_PFN_REQ_WRITE, READ, {R, R, W, W, R}},
#undef R
#undef W
	};
	struct view v;

	zero_page_or_skip();
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		char *p = map(5, RW, ANON, -1);

		view_open(&v, p, 5);
		memcpy(v.pfns, page, sizeof(page));
		v.range.default_flags = row[i].all;
		v.range.pfn_flags_mask = row[i].mask;
		v.range.notifier_seq = mmu_range_read_begin(&v.mrn);
		CHECK_ERR(fault(&v.range), 0);
		for (size_t j = 0; j < 5; j++) {
			CHECK_MSG(flags(&v, j) == row[i].want[j], "row %zu, page %zu: %#lx", i, j,
				  v.pfns[j]);
			/* And what nobody asked for was left alone. */
			CHECK_EQ(is_there(p + PAGE(j)), row[i].want[j] != 0);
			if (!row[i].want[j])
				CHECK_EQ(v.pfns[j], 0);
		}
		view_close(&v);
		CHECK_EQ(munmap(p, PAGE(5)), 0);
	}
}

/* What nobody asks for is no error, whatever it is. */
TEST_EACH_KERNEL(only_what_is_asked_for_can_fail)
{
	char *p = map(4, RW, ANON, -1);
	struct view v;

	CHECK_EQ(munmap(p + PAGE(1), PAGE(1)), 0);
	CHECK_EQ(mprotect(p + PAGE(2), PAGE(1), PROT_READ), 0);
	view_open(&v, p, 4);
	for (unsigned int asked = 0; asked < 16; asked++) {
		int want = 0;

		/* The first page that cannot be had, by address, says why. */
		for (int i = 3; i >= 0; i--) {
			v.pfns[i] = asked & (1u << i) ? WRITE : 0;
			if (v.pfns[i] && (i == 1 || i == 2))
				want = i == 1 ? -EFAULT : -EPERM;
		}
		v.range.pfn_flags_mask = ~0ul;
		v.range.notifier_seq = mmu_range_read_begin(&v.mrn);
		CHECK_ERR(fault(&v.range), want);
		if (!want) {
			CHECK_FLAGS(&v, 1, HMM_PFN_ERROR);
			CHECK_FLAGS(&v, 2, 0);
		}
	}
	view_close(&v);
}

/* ------------------------------------------------------------------------------------ large pages */

TEST_EACH_KERNEL(huge_pages)
{
	const unsigned int order = has_scan() ? 9 : 0;
	char *p = map_huge();
	struct view v;

	zero_page_or_skip();
	touch(p);
	if (!is_huge(p))
		SKIP("no huge page is to be had, or no PAGEMAP_SCAN to see it with");
	view_open(&v, p, 2 * 512);
	CHECK_ERR(ask(&v, 0), 0);
	check_all(&v, 0, 512, HMM_PFN_VALID | HMM_PFN_WRITE);
	for (size_t i = 0; i < 512; i++) {
		CHECK_EQ(hmm_pfn_to_map_order(v.pfns[i]), order);
		if (mrn_hmm_pfn_to_frame(v.pfns[0]))
			CHECK_EQ(mrn_hmm_pfn_to_frame(v.pfns[i]),
				 mrn_hmm_pfn_to_frame(v.pfns[0]) + i);
	}
	check_all(&v, 512, 1024, 0);
	/* The huge zero page, or many small ones. */
	CHECK_ERR(ask(&v, READ), 0);
	check_all(&v, 512, 1024, HMM_PFN_VALID);
	CHECK(hmm_pfn_to_map_order(v.pfns[700]) == 0 || hmm_pfn_to_map_order(v.pfns[700]) == order);
	CHECK_ERR(ask(&v, WRITE), 0);
	check_all(&v, 0, 1024, HMM_PFN_VALID | HMM_PFN_WRITE);
	view_close(&v);
	/* A part of one is still mapped as one. */
	CHECK_ERR(ask_once(p + PAGE(100), 3, 0), 0);
	CHECK_EQ(hmm_pfn_to_map_order(pfn[1]), order);
	/* Until it is split; and nobody is to put it together again. */
	CHECK_EQ(madvise(p, HUGE, MADV_NOHUGEPAGE), 0);
	zap(p + PAGE(101), 1);
	CHECK_ERR(ask_once(p + PAGE(100), 3, 0), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_EQ(hmm_pfn_to_map_order(pfn[0]), 0);
	CHECK_EQ(pfn[1], 0);
}

/* PROCMAP_QUERY tells the size of such pages, and PAGEMAP_SCAN that they are large. */
TEST_EACH_KERNEL(hugetlb)
{
	char *p = mmap(NULL, HUGE, RW, ANON | MAP_HUGETLB, -1, 0);
	struct view v;

	if (p == MAP_FAILED)
		SKIP("no huge pages are set aside: echo 4 >/proc/sys/vm/nr_hugepages");
	view_open(&v, p, 512);
	CHECK_ERR(ask(&v, 0), 0);
	check_all(&v, 0, 512, 0);
	CHECK_ERR(ask(&v, WRITE), 0);
	check_all(&v, 0, 512, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_EQ(hmm_pfn_to_map_order(v.pfns[300]), has_scan() ? 9 : 0);
	CHECK_ERR(ask(&v, 0), 0);
	check_all(&v, 0, 512, HMM_PFN_VALID | HMM_PFN_WRITE);
	view_close(&v);
}

/* --------------------------------------------------------------------------------------- sharing */

TEST_EACH_KERNEL(private_memory_after_a_fork)
{
	int to_child[2], to_parent[2];
	char *p = map(2, RW, ANON, -1);
	unsigned long before;
	pid_t child;

	CHECK_EQ(pipe2(to_child, O_CLOEXEC) | pipe2(to_parent, O_CLOEXEC), 0);
	memset(p, 'A', PAGE(2));
	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
	before = mrn_hmm_pfn_to_frame(pfn[0]);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		/* Page 0: shared with the parent, until it is asked for. */
		CHECK_ERR(ask_once(p, 1, READ), 0);
		CHECK_ANSWER(0, HMM_PFN_VALID);
		CHECK_EQ(mrn_hmm_pfn_to_frame(pfn[0]), before);
		CHECK_ERR(ask_once(p, 1, WRITE), 0);
		CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
		if (before)
			CHECK_NE(mrn_hmm_pfn_to_frame(pfn[0]), before);
		CHECK_EQ(p[0], 'A');
		p[0] = 'C';
		tell(to_parent[1]);
		/* Page 1: the parent has taken a copy. */
		await(to_child[0]);
		CHECK_EQ(p[PAGE(1)], 'A');
		CHECK_ERR(ask_once(p + PAGE(1), 1, 0), 0);
		CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
		_exit(0);
	}
	await(to_parent[0]);
	CHECK_EQ(p[0], 'A');
	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_ANSWER(1, HMM_PFN_VALID);
	CHECK_ERR(ask_once(p + PAGE(1), 1, WRITE), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
	p[PAGE(1)] = 'B';
	tell(to_child[1]);
	CHECK_EQ(child_status(child), 0);
	CHECK_EQ(p[PAGE(1)], 'B');
}

TEST_EACH_KERNEL(shared_memory_after_a_fork)
{
	char *p = map(1, RW, MAP_SHARED | MAP_ANONYMOUS, -1);
	unsigned long before;
	pid_t child;

	p[0] = 'A';
	CHECK_ERR(ask_once(p, 1, WRITE), 0);
	before = mrn_hmm_pfn_to_frame(pfn[0]);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		CHECK_ERR(ask_once(p, 1, WRITE), 0);
		CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
		CHECK_EQ(mrn_hmm_pfn_to_frame(pfn[0]), before);
		p[0] = 'C';
		_exit(0);
	}
	CHECK_EQ(child_status(child), 0);
	CHECK_ERR(ask_once(p, 1, 0), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_EQ(mrn_hmm_pfn_to_frame(pfn[0]), before);
	CHECK_EQ(p[0], 'C');
}

/* The child's memory is the child's, though the code ran in the parent before. */
TEST(a_child_sees_its_own_translations)
{
	char *p = map(2, RW, ANON, -1);
	pid_t child;

	touch(p);
	CHECK_ERR(ask_once(p, 2, 0), 0);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		zap(p, 1);
		touch(p + PAGE(1));
		CHECK_ERR(ask_once(p, 2, 0), 0);
		CHECK_ANSWER(0, 0);
		CHECK_ANSWER(1, HMM_PFN_VALID | HMM_PFN_WRITE);
		_exit(0);
	}
	CHECK_EQ(child_status(child), 0);
	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK(answer(0) & HMM_PFN_VALID);
	CHECK_ANSWER(1, 0);
}

/* --------------------------------------------------------------------------- pages that are away */

TEST_EACH_KERNEL(a_swapped_page)
{
	char *p = map(2, RW, ANON, -1);

	memset(p, 'A', PAGE(2));
	if (madvise(p, PAGE(1), MADV_PAGEOUT) || is_there(p))
		SKIP("no swap, or none that the page went to");
	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK_EQ(pfn[0], 0);
	CHECK_ANSWER(1, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK(!is_there(p));
	CHECK_ERR(ask_once(p, 2, READ), 0);
	CHECK(answer(0) & HMM_PFN_VALID);
	CHECK_EQ(madvise(p, PAGE(1), MADV_PAGEOUT), 0);
	CHECK_ERR(ask_once(p, 2, WRITE), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_EQ(p[0], 'A');
}

TEST_EACH_KERNEL(a_reclaimed_page_of_a_file)
{
	int fd = make_file(2);
	char *p;

	CHECK_EQ(fsync(fd), 0);
	p = map(2, RW, MAP_SHARED, fd);
	CHECK_ERR(ask_once(p, 2, READ), 0);
	if (madvise(p, PAGE(1), MADV_PAGEOUT) || is_there(p))
		SKIP("the page did not go");
	CHECK_ERR(ask_once(p, 2, 0), 0);
	CHECK_EQ(pfn[0], 0);
	CHECK_ERR(ask_once(p, 2, READ), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_EQ(p[0], 1);
}

/* Asking for WRITE tells whoever tracks writes, though a snapshot calls such a page writable. */
TEST_EACH_KERNEL(a_tracked_page)
{
	char *p = map(1, RW, ANON, -1);
	struct uffdio_register reg = {
		.range = {.start = (uintptr_t)p, .len = PAGE(1)},
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect wp = {
		.range = reg.range,
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	const uint64_t protected = UINT64_C(1) << 57;
	uint64_t got;
	int fd = mrn_uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_ASYNC, 0, &got);

	if (fd < 0)
		SKIP("no userfaultfd that tracks writes by itself");
	touch(p);
	CHECK_EQ(ioctl(fd, UFFDIO_REGISTER, &reg) | ioctl(fd, UFFDIO_WRITEPROTECT, &wp), 0);
	CHECK(entry_of(p) & protected);
	CHECK_ERR(ask_once(p, 1, 0), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_ERR(ask_once(p, 1, READ), 0);
	CHECK(entry_of(p) & protected);
	CHECK_ERR(ask_once(p, 1, WRITE), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK(!(entry_of(p) & protected));
}

/* --------------------------------------------------------------- what a process may know of itself */

static void drop_sys_admin(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	CHECK_EQ(syscall(SYS_capget, &head, data), 0);
	data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective &= ~CAP_TO_MASK(CAP_SYS_ADMIN);
	CHECK_EQ(syscall(SYS_capset, &head, data), 0);
}

static bool sees_frames(void)
{
	int here = 0;

	return entry_of((void *)((uintptr_t)&here & ~(PAGE(1) - 1))) & MRN_PAGEMAP_FRAME;
}

TEST_EACH_KERNEL(frames_with_cap_sys_admin)
{
	char *p = map(3, RW, ANON, -1);

	if (!sees_frames())
		SKIP("this process lacks CAP_SYS_ADMIN");
	touch(p);
	CHECK_ERR(ask_once(p, 3, 0), 0);
	CHECK_NE(mrn_hmm_pfn_to_frame(pfn[0]), 0);
	CHECK_EQ(mrn_hmm_pfn_to_frame(pfn[0]), entry_of(p) & MRN_PAGEMAP_FRAME);
	CHECK_EQ(pfn[1], 0);
}

TEST_EACH_KERNEL(frames_without_cap_sys_admin)
{
	char *p = map(3, RW, ANON, -1);

	zero_page_or_skip();
	/* Before, with it, so that it is seen that nothing is kept. */
	touch(p);
	CHECK_ERR(ask_once(p, 3, 0), 0);
	drop_sys_admin();
	CHECK(!sees_frames());
	CHECK_ERR(ask_once(p, 3, 0), 0);
	CHECK_EQ(pfn[0], HMM_PFN_VALID | HMM_PFN_WRITE);
	CHECK_EQ(pfn[1], 0);
	CHECK_ERR(ask_once(p, 3, READ), 0);
	CHECK_EQ(pfn[1], HMM_PFN_VALID);
	CHECK_ERR(ask_once(p, 3, WRITE), 0);
	CHECK_EQ(pfn[1], HMM_PFN_VALID | HMM_PFN_WRITE);
}

/* The kernel lets nobody look into a process that has changed its user, not even itself. */
TEST(a_process_that_changed_its_user)
{
	char *p = map(1, RW, ANON, -1);
	int r;

	if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
		SKIP("this process may not become nobody");
	r = ask_once(p, 1, 0);
	if (r == 0)
		SKIP("this one may");
	CHECK_ERR(r, -EACCES);
	CHECK_EQ(prctl(PR_SET_DUMPABLE, 1), 0);
	CHECK_ERR(ask_once(p, 1, 0), 0);
}

TEST_EACH_KERNEL(out_of_descriptors)
{
	char *p = map(1, RW, ANON, -1);
	struct rlimit old, none;
	int next = dup(0);

	CHECK(next >= 0);
	close(next);
	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
	for (rlim_t more = 0; more < 2; more++) {
		none = (struct rlimit){.rlim_cur = (rlim_t)next + more, .rlim_max = old.rlim_max};
		CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
		CHECK_ERR(ask_once(p, 1, READ), -EMFILE);
	}
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
	CHECK_ERR(ask_once(p, 1, READ), 0);
	/* Whatever came out of it, nothing stayed open. */
	CHECK_EQ(munmap(p, PAGE(1)), 0);
	CHECK_ERR(ask_once(p, 1, READ), -EFAULT);
	CHECK_EQ(dup(0), next);
}

TEST(a_kernel_without_madv_populate)
{
	char *p = map(3, RW, ANON, -1);

	touch(p);
	BREAK(MADV_POPULATE);
	CHECK_ERR(ask_once(p, 3, 0), 0);
	CHECK_ANSWER(0, HMM_PFN_VALID | HMM_PFN_WRITE);
	/* What is there may be had; whether it may be written to, nobody knows. */
	CHECK_ERR(ask_once(p, 1, READ), 0);
	CHECK_ERR(ask_once(p, 3, READ), -EOPNOTSUPP);
	CHECK_ERR(ask_once(p, 1, WRITE), -EOPNOTSUPP);
	CHECK_EQ(mprotect(p, PAGE(1), PROT_READ), 0);
	CHECK_ERR(ask_once(p, 1, WRITE), -EPERM);
	CHECK_EQ(munmap(p, PAGE(1)), 0);
	CHECK_ERR(ask_once(p, 1, WRITE), -EFAULT);
}

/* The two ways to ask for a mapping, of all that there are. */
static bool compare_mapping(const struct mrn_mapping *m, void *arg)
{
	int fd = *(int *)arg, r;
	struct mrn_mapping q;

	r = mrn_maps_query(fd, m->start, &q);
	if (r == -ENOTTY)
		SKIP("no PROCMAP_QUERY");
	/* The vsyscall page is shown, but is no mapping. */
	if (r == -ENOENT && m->start > UINTPTR_MAX / 2)
		return true;
	CHECK_ERR(r, 0);
	CHECK_EQ(q.start, m->start);
	CHECK_EQ(q.end, m->end);
	CHECK_EQ(q.offset, m->offset);
	CHECK_EQ(q.inode, m->inode);
	CHECK_EQ(q.dev_major, m->dev_major);
	CHECK_EQ(q.dev_minor, m->dev_minor);
	CHECK_EQ(q.readable, m->readable);
	CHECK_EQ(q.writable, m->writable);
	CHECK_EQ(q.executable, m->executable);
	CHECK_EQ(q.shared, m->shared);
	CHECK(q.page_size >= PAGE(1));
	return true;
}

TEST(both_ways_to_ask_for_mappings_agree)
{
	struct mrn_mapping some[4];
	char *p = map(3, RW, ANON, -1);
	int fd = mrn_maps_open();

	CHECK(fd >= 0);
	map(1, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1);
	CHECK_ERR(mrn_maps_visit(compare_mapping, &fd), 0);
	CHECK_EQ(munmap(p, PAGE(1)), 0);
	CHECK_EQ(mprotect(p + PAGE(2), PAGE(1), PROT_READ), 0);
	CHECK_EQ(mrn_maps_from((uintptr_t)p, some, 4), 4);
	CHECK_EQ(some[0].start, p + PAGE(1));
	CHECK_EQ(some[1].start, p + PAGE(2));
	CHECK_EQ(mrn_maps_from((uintptr_t)p + PAGE(2), some, 1), 1);
	CHECK_EQ(some[0].start, p + PAGE(2));
	CHECK_ERR(mrn_maps_query(fd, (uintptr_t)p, &some[1]), 0);
	CHECK_EQ(some[1].start, p + PAGE(1));
	CHECK_ERR(mrn_maps_query(fd, UINT64_C(1) << 47, &some[1]), -ENOENT);
	close(fd);
}

static void cancelled(void *arg)
{
	int old;

	CHECK_EQ(pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &old), 0);
	CHECK_EQ(pthread_cancel(pthread_self()), 0);
	CHECK_ERR(ask_once(arg, 8, WRITE), 0);
	CHECK_EQ(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old), 0);
}

TEST(it_is_no_cancellation_point)
{
	struct test_thread t;

	test_thread(&t, cancelled, map(8, RW, ANON, -1));
	test_join(&t);
	CHECK_ANSWER(7, HMM_PFN_VALID | HMM_PFN_WRITE);
}

/* -------------------------------------------------------------------------------------- large ranges */

TEST_EACH_KERNEL(a_gigabyte_of_sparse_memory, .timeout_s = 120)
{
	const size_t n = (UINT64_C(1) << 30) / PAGE(1);
	char *p = map(n, RW, ANON | MAP_NORESERVE, -1);
	uint64_t t0, t1, t2, t3;
	struct view v;

	zero_page_or_skip();
	for (size_t i = 77; i < n; i += 10007)
		touch(p + PAGE(i));
	view_open(&v, p, n);
	CHECK_EQ(munmap(p + PAGE(n / 2), PAGE(n / 8)), 0);
	t0 = test_now_ns();
	CHECK_ERR(ask(&v, 0), 0);
	t1 = test_now_ns();
	for (size_t i = 0; i < n; i++) {
		bool hole = i >= n / 2 && i < n / 2 + n / 8;

		CHECK_FLAGS(&v, i,
			    hole	      ? HMM_PFN_ERROR
			    : i % 10007 == 77 ? HMM_PFN_VALID | HMM_PFN_WRITE
					      : 0);
	}
	view_close(&v);
	view_open(&v, p, n / 8);
	t2 = test_now_ns();
	CHECK_ERR(ask(&v, READ), 0);
	t3 = test_now_ns();
	for (size_t i = 0; i < n / 8; i++)
		CHECK_FLAGS(&v, i, i % 10007 == 77 ? HMM_PFN_VALID | HMM_PFN_WRITE : HMM_PFN_VALID);
	view_close(&v);
	NOTE("a snapshot of 1 GiB took %llu us, reading in an eighth of it %llu us",
	     (unsigned long long)(t1 - t0) / 1000, (unsigned long long)(t3 - t2) / 1000);
}
