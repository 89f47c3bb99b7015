/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The page tables, as /proc/self/pagemap shows them: entry by entry, or by PAGEMAP_SCAN (Linux 6.7), which Debian 12's
 * headers lack and which reads a range in one piece, with the mmap lock held throughout. Neither shows whether a page
 * is write-protected.
 */
#ifndef MRN_OS_PAGEMAP_H
#define MRN_OS_PAGEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Opens this process's page map. In a forked child the descriptor still shows the parent; whether it shows frames
 * depends on the privileges of the opener, not of the reader. -errno as open: -EACCES for a process that has changed
 * its user, and so may no longer read its own.
 */
int mrn_pagemap_open(void);
/* Closes fd. False: it is another file by now; see mrn_maps_close. */
bool mrn_pagemap_close(int fd);

/* An entry. */
#define MRN_PAGEMAP_PRESENT   (UINT64_C(1) << 63)
#define MRN_PAGEMAP_SWAPPED   (UINT64_C(1) << 62)
#define MRN_PAGEMAP_FILE      (UINT64_C(1) << 61)	/* of a file or of shared memory */
#define MRN_PAGEMAP_GUARD     (UINT64_C(1) << 58)	/* MADV_GUARD_INSTALL (Linux 6.15) */
#define MRN_PAGEMAP_EXCLUSIVE (UINT64_C(1) << 56)	/* mapped once in the whole machine */
#define MRN_PAGEMAP_FRAME     ((UINT64_C(1) << 55) - 1) /* 0 without CAP_SYS_ADMIN */

/* Reads the entries of n pages from addr on. 0 or -errno. */
int mrn_pagemap_read(int fd, uintptr_t addr, size_t n, uint64_t *entries);

/*
 * Reads a byte at addr, so that its page is in the page table if there is one, whatever the rights. It waits for no
 * userfaultfd, and fails instead. 0 or -errno.
 */
int mrn_pagemap_touch(uintptr_t addr);

/* Neighbouring mapped pages with the same categories. */
struct mrn_pagemap_region {
	uint64_t start, end;
	uint64_t categories; /* MRN_PAGE_IS_ bits; none: nothing is there */
};

#define MRN_PAGE_IS_PRESENT (1u << 3)
#define MRN_PAGE_IS_SWAPPED (1u << 4) /* there is an entry, but no page */
#define MRN_PAGE_IS_HUGE    (1u << 6) /* mapped as a block, transparent or hugetlb */

/*
 * Describes the mapped pages of [start, end), in order; *walked is how far it came with max regions. Pages in no region
 * are not mapped, or their mapping has no pages. Returns the number of regions, or -errno: -ENOTTY if the kernel lacks
 * the call.
 */
long mrn_pagemap_scan(int fd, uintptr_t start, uintptr_t end, struct mrn_pagemap_region *regions,
		      size_t max, uintptr_t *walked);

/*
 * 1 if all of [start, end) is mapped, and registered in write-protect mode with a userfaultfd that has WP_ASYNC; 0; or
 * -errno: -ENOTTY if the kernel lacks the call. *own, unless NULL: true if each page is present and private to the
 * process, neither a file's nor the zero page.
 */
int mrn_pagemap_all_armed(int fd, uintptr_t start, uintptr_t end, bool *own);
/* Finds the first part of [*start, end) that is so registered, as [*start, *piece_end); moves *start. 1, 0 or -errno. */
int mrn_pagemap_next_armed(int fd, uintptr_t *start, uintptr_t end, uintptr_t *piece_end);

#endif
