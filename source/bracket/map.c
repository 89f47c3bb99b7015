/* SPDX-License-Identifier: BSD-3-Clause */
/* munmap, mmap, mremap, remap_file_pages. */
#undef _FILE_OFFSET_BITS /* else mmap below would be named mmap64 */

#include <stdarg.h>
#include <sys/mman.h>
#include <sys/statfs.h>

#include "os/maps.h"
#include "os/syscall.h"
#include "source/bracket/calls.h"
#include "source/bracket/check.h"
#include "source/interposer.h"

#include "os/event_path.h"

#define HUGETLBFS_MAGIC 0x958458f6

/* No user address is higher, on any machine that mrn knows: five-level paging ends here. */
#define USER_TOP (UINT64_C(1) << 56)

/* Sizes of huge pages, in ascending order. */
static const uint64_t huge_sizes[] = {
#ifdef __aarch64__
	UINT64_C(64) << 10,  UINT64_C(2) << 20, UINT64_C(32) << 20,
	UINT64_C(512) << 20, UINT64_C(1) << 30, UINT64_C(16) << 30,
#else
	UINT64_C(2) << 20,
	UINT64_C(1) << 30,
#endif
};
#define NR_HUGE_SIZES (sizeof(huge_sizes) / sizeof(huge_sizes[0]))

static uintptr_t round_up(uintptr_t addr, uint64_t size)
{
	return (addr + size - 1) & ~(size - 1);
}

/* The largest pages that a mapping from start on may have. */
static uint64_t largest_at(uintptr_t start)
{
	for (size_t i = NR_HUGE_SIZES; i-- > 0;)
		if (!(start & (huge_sizes[i] - 1)))
			return huge_sizes[i];
	return mrn_page_size();
}

/*
 * mmap and mremap round a length for huge pages up to whole ones. A mapping of them begins at a multiple of their size. So
 * the end is rounded up to the largest size that start is a multiple of: this covers the mapping, and perhaps more.
 */
uintptr_t mrn_huge_end(uintptr_t start, uintptr_t end)
{
	return round_up(end, largest_at(start));
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

/* The size of the pages of a new mapping at start; more if that cannot be known. */
static uint64_t pages_of_new(uintptr_t start, int flags, int fd)
{
	const unsigned int shift = (unsigned int)flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK;
	struct statfs fs;
	long r;

	if (flags & MAP_ANONYMOUS) {
		if (!(flags & MAP_HUGETLB))
			return mrn_page_size();
		return shift ? UINT64_C(1) << shift : largest_at(start);
	}
	if (mrn_bracket_tells_nobody())
		return largest_at(start);
	r = mrn_sys2(SYS_fstatfs, fd, (long)&fs);
	if (r < 0)
		return largest_at(start);
	return fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : mrn_page_size();
}

/* Only MAP_FIXED replaces a mapping, and not with NOREPLACE. */
bool mrn_mmap_replaces(int flags)
{
	return (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) == MAP_FIXED;
}

static uintptr_t end_of_new(uintptr_t start, uintptr_t end, int flags, int fd)
{
	return mrn_huge_end(start, end) == end ? end
					       : round_up(end, pages_of_new(start, flags, fd));
}

void mrn_bracket_mmap_fixed(struct mrn_bracket *b, const void *addr, size_t length, int flags,
			    int fd)
{
	uintptr_t start, end;

	mrn_bracket_none(b);
	if (is_user_span(addr, length, &start, &end))
		mrn_bracket_add(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_MAP_FIXED, start,
				end_of_new(start, end, flags, fd));
}

void mrn_bracket_mapped(const void *to, size_t length, int flags, int fd)
{
	const uintptr_t start = (uintptr_t)to;

	mrn_bracket_fresh(start, end_of_new(start, mrn_page_up(start + length), flags, fd));
}

/* --------------------------------------------------------------------------------------- mremap */

/*
 * 1, 0 or -errno: whether a huge page that begins at start goes on at addr. To mremap a page to the size that it has does
 * nothing, but the kernel refuses it first inside a huge page. Before Linux 5.16 it does not, and rounds no length either.
 * It refuses it wherever a mapping is sealed, too: then one that begins behind start tells that it is another.
 */
static int goes_on(uintptr_t start, uintptr_t addr)
{
	const long page = (long)mrn_page_size();
	const long r = mrn_sys4(SYS_mremap, (long)addr, page, page, 0);
	struct mrn_mapping m;

	if (r == (long)addr || r == -EFAULT)
		return 0;
	if (r == -EINVAL)
		return 1;
	return mrn_maps_from(addr, &m, 1) == 1 && m.start > start ? 0 : -EPERM;
}

/*
 * The size of the pages of the mapping that begins at start; 0 if it cannot be known, or nobody needs to. Behind a huge page
 * there is nothing, or another one begins, or another mapping: so the first size behind which no huge page goes on is it.
 */
static uint64_t pages_at(uintptr_t start)
{
	const uint64_t largest = largest_at(start);
	uint64_t size = mrn_page_size();
	int on;

	if (mrn_bracket_is_anothers() || mrn_bracket_tells_nobody() || MRN_BROKEN(BRACKET_HUGE))
		return 0;
	on = goes_on(start, start + size);
	for (size_t i = 0; on > 0 && size < largest; i++) {
		size = huge_sizes[i];
		if (size < largest)
			on = goes_on(start, start + size);
	}
	return on < 0 ? 0 : size;
}

static void bracket_whole_source(struct mrn_bracket *b, uintptr_t start, uintptr_t end)
{
	mrn_bracket_add(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_MREMAP_SRC, start, end);
	/* Without a token, dispatch announces the call and disarms: somebody may still rely on the range. */
	if (b->nr)
		mrn_source_disarm_range(start, end);
}

/*
 * Before the kernel changes anything, it looks at the place that the call names, but not at whether the old size reaches
 * beyond all addresses, or around them: so it unmaps what is at the place, and fails then. Older ones cut off a tail even if
 * both sizes reach around.
 */
void mrn_bracket_mremap(struct mrn_bracket *b, const void *addr, size_t old_size, size_t new_size,
			int flags, const void *new_addr)
{
	const uint64_t page = mrn_page_size();
	const uintptr_t start = mrn_untagged(addr);
	const uint64_t old_length = round_up(old_size, page), new_length = round_up(new_size, page);
	uintptr_t end = start + old_length, new_start = start, new_end = start + new_length;
	uint64_t largest, pages;
	bool has_source;

	mrn_bracket_none(b);
	if ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && !(flags & MREMAP_MAYMOVE))
		return;
	if ((start & (page - 1)) || !new_length)
		return;
	if ((flags & MREMAP_FIXED) && !is_user_span(new_addr, new_size, &new_start, &new_end))
		return;
	/* Lengths that are whole pages of any size are not rounded. */
	largest = largest_at(start);
	if ((old_length | new_length) & (largest - 1)) {
		pages = pages_at(start);
		end = round_up(end, pages ? pages : largest);
		if (pages || (flags & MREMAP_FIXED))
			new_end = round_up(new_end, pages ? pages : largest);
	}
	if (end > USER_TOP)
		end = USER_TOP;
	/*
	 * An old size of 0, also after rounding up, makes a second mapping of a shared one, and leaves the first alone.
	 */
	has_source = start < end;

	/* An unknown flag counts as one that moves. */
	if (flags & ~MREMAP_MAYMOVE) {
		if (has_source)
			bracket_whole_source(b, start, end);
		if (flags & MREMAP_FIXED)
			mrn_bracket_add(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_MREMAP_DST, new_start,
					new_end);
	} else if (new_length < old_length) {
		/* Shrinking without a flag never moves: only the tail goes. */
		if (new_end < end)
			mrn_bracket_add(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_MREMAP_SRC, new_end, end);
	} else if (has_source && new_length > old_length) {
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
	/* It has moved to, or grown into, addresses that were free. Huge pages do neither: the kernel refuses it. */
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
