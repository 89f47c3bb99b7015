/* SPDX-License-Identifier: BSD-3-Clause */
/* munmap, mmap, mremap, remap_file_pages. */
#undef _FILE_OFFSET_BITS /* else mmap below would be named mmap64 */

#include <stdarg.h>
#include <sys/mman.h>
#include <sys/statfs.h>

#include "os/syscall.h"
#include "source/bracket/calls.h"
#include "source/interposer.h"

#include "os/event_path.h"

#define HUGETLBFS_MAGIC 0x958458f6

/* No user address is higher, on any machine that mrn knows: five-level paging ends here. */
#define USER_TOP (UINT64_C(1) << 56)

/*
 * mmap and mremap round a length for huge pages up to whole ones. The arguments show neither whether pages are huge nor
 * their size, but a mapping of them begins at a multiple of their size. So the end is rounded up to the largest size
 * that start is a multiple of: this covers the mapping, and perhaps more.
 */
uintptr_t mrn_huge_end(uintptr_t start, uintptr_t end)
{
	static const uint64_t sizes[] = {
#ifdef __aarch64__
		UINT64_C(16) << 30, UINT64_C(1) << 30, UINT64_C(512) << 20,
		UINT64_C(32) << 20, UINT64_C(2) << 20, UINT64_C(64) << 10,
#else
		UINT64_C(1) << 30,
		UINT64_C(2) << 20,
#endif
	};

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		if (!(start & (sizes[i] - 1)))
			return (end + sizes[i] - 1) & ~(sizes[i] - 1);
	return end;
}

static bool is_user_span(const void *addr, size_t length, uintptr_t *start, uintptr_t *end)
{
	return mrn_pages_spanned(addr, length, start, end) && *end <= USER_TOP;
}

/* --------------------------------------------------------------------------------------- munmap */

void mrn_bracket_munmap(struct mrn_bracket *b, const void *addr, size_t length)
{
	uintptr_t start, end;

	mrn_bracket_none(b);
	if (is_user_span(addr, length, &start, &end))
		mrn_bracket_add(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, start, end);
}

/* ----------------------------------------------------------------------------------------- mmap */

static bool is_hugetlbfs(int fd)
{
	struct statfs fs;

	return mrn_sys2(SYS_fstatfs, fd, (long)&fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
}

/* Only MAP_FIXED replaces a mapping, and not with NOREPLACE. */
bool mrn_mmap_replaces(int flags)
{
	return (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) == MAP_FIXED;
}

void mrn_bracket_mmap_fixed(struct mrn_bracket *b, const void *addr, size_t length, int flags,
			    int fd)
{
	uintptr_t start, end, huge;

	mrn_bracket_none(b);
	if (!is_user_span(addr, length, &start, &end))
		return;
	huge = mrn_huge_end(start, end);
	if (huge != end &&
	    ((flags & MAP_ANONYMOUS) ? (flags & MAP_HUGETLB) != 0
				     : mrn_bracket_tells_nobody() || is_hugetlbfs(fd)))
		end = huge;
	mrn_bracket_add(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_MAP_FIXED, start, end);
}

/* --------------------------------------------------------------------------------------- mremap */

static void bracket_whole_source(struct mrn_bracket *b, uintptr_t start, uintptr_t end)
{
	mrn_bracket_add(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_MREMAP_SRC, start, mrn_huge_end(start, end));
	/* Without a token, dispatch announces the call and disarms: somebody may still rely on the range. */
	if (b->nr)
		mrn_source_disarm_range(start, end);
}

void mrn_bracket_mremap(struct mrn_bracket *b, const void *addr, size_t old_size, size_t new_size,
			int flags, const void *new_addr)
{
	uintptr_t start, end, new_start, new_end;
	bool has_source;

	mrn_bracket_none(b);
	if ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && !(flags & MREMAP_MAYMOVE))
		return;
	if (!is_user_span((flags & MREMAP_FIXED) ? new_addr : addr, new_size, &new_start, &new_end))
		return;
	/*
	 * An old size of 0, also after rounding up, makes a second mapping of a shared one, and leaves the first alone.
	 */
	has_source = is_user_span(addr, old_size, &start, &end);
	if (!has_source && ((start & (mrn_page_size() - 1)) || end != start))
		return;

	/* An unknown flag counts as one that moves. */
	if (flags & ~MREMAP_MAYMOVE) {
		if (has_source)
			bracket_whole_source(b, start, end);
		if (flags & MREMAP_FIXED)
			mrn_bracket_add(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_MREMAP_DST, new_start,
					mrn_huge_end(new_start, new_end));
	} else if (has_source && new_end < end) {
		/* Shrinking without a flag never moves: only the tail goes. */
		mrn_bracket_add(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_MREMAP_SRC, new_end,
				mrn_huge_end(start, end));
	} else if (has_source && new_end > end) {
		/*
		 * It may grow in place, but that cannot be known beforehand. Even if it may not move, the call must not
		 * fail because a part is armed.
		 */
		bracket_whole_source(b, start, end);
	}
}

bool mrn_mremap_stays(const void *addr, size_t old_size, size_t new_size, const void *to)
{
	return (uintptr_t)to == mrn_untagged(addr) && new_size >= old_size;
}

void mrn_bracket_moved(const void *addr, size_t old_size, size_t new_size, int flags,
		       const void *to)
{
	/* It has moved to, or grown into, addresses that were free. */
	const uintptr_t kept = mrn_mremap_stays(addr, old_size, new_size, to) ? old_size : 0;

	if (!(flags & MREMAP_FIXED) && (to != addr || new_size > old_size))
		mrn_bracket_fresh(mrn_page_up((uintptr_t)to + kept),
				  mrn_page_up((uintptr_t)to + new_size));
}

/* ----------------------------------------------------------------------------- remap_file_pages */

void mrn_bracket_remap_file_pages(struct mrn_bracket *b, const void *addr, size_t size)
{
	uintptr_t start = mrn_page_down((uintptr_t)addr), end = start + mrn_page_down(size);

	/* This call rounds both down. */
	mrn_bracket_none(b);
	if (start < end && end <= USER_TOP)
		mrn_bracket_add(b, MMU_NOTIFY_CLEAR, MRN_CAUSE_REMAP_FILE_PAGES, start, end);
}
