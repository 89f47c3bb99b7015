/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "os/fd.h"
#include "os/pages.h"
#include "os/syscall.h"

struct pm_scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
/* The mapping is registered for asynchronous write protection. */
#define PAGE_IS_WPALLOWED (1u << 0)
#define PAGE_IS_FILE	  (1u << 2)
#define PAGE_IS_PFNZERO	  (1u << 5)

static const char pagemap[] = "/proc/self/pagemap";

int mrn_pagemap_open(void)
{
	return (int)mrn_sys4(SYS_openat, AT_FDCWD, (long)pagemap, O_RDONLY | O_CLOEXEC, 0);
}

bool mrn_pagemap_close(int fd)
{
	bool ours = mrn_fd_is_file(fd, pagemap);

	if (ours)
		mrn_sys1(SYS_close, fd);
	return ours;
}

int mrn_pagemap_read(int fd, uintptr_t addr, size_t n, uint64_t *entries)
{
	uint64_t at = addr / mrn_page_size() * sizeof(*entries);
	char *to = (char *)entries;
	size_t left = n * sizeof(*entries);

	while (left) {
		long r = mrn_sys4(SYS_pread64, fd, (long)to, (long)left, (long)at);

		if (r == -EINTR)
			continue;
		if (r < 0)
			return (int)r;
		/* Beyond the last address that a process can have. */
		if (r == 0)
			return -EFAULT;
		to += r;
		at += (uint64_t)r;
		left -= (size_t)r;
	}
	return 0;
}

int mrn_pagemap_touch(uintptr_t addr)
{
	/* The kernel reads it for us without letting go of the mmap lock, as it would have to in order to wait. */
	static const char memory[] = "/proc/self/mem";
	const int fd = (int)mrn_sys4(SYS_openat, AT_FDCWD, (long)memory, O_RDONLY | O_CLOEXEC, 0);
	char byte;
	long n;

	if (fd < 0)
		return fd;
	n = mrn_sys4(SYS_pread64, fd, (long)&byte, 1, (long)addr);
	if (mrn_fd_is_file(fd, memory))
		mrn_sys1(SYS_close, fd);
	return n == 1 ? 0 : n < 0 ? (int)n : -EFAULT;
}

long mrn_pagemap_scan(int fd, uintptr_t start, uintptr_t end, struct mrn_pagemap_region *regions,
		      size_t max, uintptr_t *walked)
{
	/* No mask to fulfil: all mapped pages, whatever is there. */
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = start,
		.end = end,
		.vec = (uint64_t)(uintptr_t)regions,
		.vec_len = max,
		.return_mask = MRN_PAGE_IS_PRESENT | MRN_PAGE_IS_SWAPPED | MRN_PAGE_IS_HUGE,
	};
	long n = mrn_sys3(SYS_ioctl, fd, (long)PAGEMAP_SCAN, (long)&arg);

	if (n >= 0)
		*walked = (uintptr_t)arg.walk_end;
	return n;
}

/* 1 if all of it is one region that matches mask and has the same categories among told, which go to *categories. */
static int is_one_region(int fd, uintptr_t start, uintptr_t end, uint64_t mask, uint64_t told,
			 uint64_t *categories)
{
	/* Neighbours come as one region, so more than one means a gap, or a difference. */
	struct mrn_pagemap_region region[2] = {{0}};
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = start,
		.end = end,
		.vec = (uint64_t)(uintptr_t)region,
		.vec_len = 2,
		.category_mask = mask,
		.return_mask = told,
	};
	long n = mrn_sys3(SYS_ioctl, fd, (long)PAGEMAP_SCAN, (long)&arg);

	if (n < 0)
		return (int)n;
	*categories = region[0].categories;
	return n == 1 && region[0].start == start && region[0].end == end;
}

int mrn_pagemap_all_armed(int fd, uintptr_t start, uintptr_t end, bool *own)
{
	const uint64_t told = PAGE_IS_WPALLOWED | PAGE_IS_FILE | MRN_PAGE_IS_PRESENT |
			      PAGE_IS_PFNZERO;
	uint64_t categories;
	int r;

	/* Usually one scan answers both. */
	if (own) {
		r = is_one_region(fd, start, end, PAGE_IS_WPALLOWED, told, &categories);
		*own = r == 1 && categories == (PAGE_IS_WPALLOWED | MRN_PAGE_IS_PRESENT);
		if (r)
			return r;
	}
	return is_one_region(fd, start, end, PAGE_IS_WPALLOWED, PAGE_IS_WPALLOWED, &categories);
}

int mrn_pagemap_next_armed(int fd, uintptr_t *start, uintptr_t end, uintptr_t *piece_end)
{
	struct mrn_pagemap_region region = {0};
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = *start,
		.end = end,
		.vec = (uint64_t)(uintptr_t)&region,
		.vec_len = 1,
		.category_mask = PAGE_IS_WPALLOWED,
		.return_mask = PAGE_IS_WPALLOWED,
	};
	long n = *start < end ? mrn_sys3(SYS_ioctl, fd, (long)PAGEMAP_SCAN, (long)&arg) : 0;

	*start = (uintptr_t)region.start;
	*piece_end = (uintptr_t)region.end;
	return (int)n;
}
