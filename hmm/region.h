/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pages, the regions that they are in, and finding a region by address.
 *
 * A region is a mapping of the frames' memfd. Page i maps the frame page[i].home, whatever its state; but unless it is
 * RAM and not lent, its page table entry is empty, and an access is a page fault that a handler serves.
 *
 *	HOLE	  nothing, not even a mapping of ours that may be read
 *	NONE	  reads as zeros
 *	RAM	  its contents are in frame home, which is its own
 *	DEVICE	  its contents are on a device, at pfn
 *	SWAPPED	  its contents are in the backing file, at slot
 *
 * A change of a translation: start; lock pages; zap, change; end; unlock pages. A page that gets its
 * first translation (NONE, SWAPPED to RAM) needs no start.
 *
 * Invariants, of a page that is not BUSY:
 *	WRITABLE => state == RAM && !EXCLUSIVE && (DIRTY && SOFT_DIRTY)
 *	the CPU's entry allows writes => WRITABLE
 *	EXCLUSIVE => state == RAM, and the CPU has no entry
 *	state == RAM && !DIRTY => contents == (slot ? the backing file's : zeros), unless a device dirtied the frame
 *	state == SWAPPED => slot
 *	written to since soft-dirty was last taken => SOFT_DIRTY, or state == RAM and its frame is soft-dirty, or
 *	state == DEVICE
 *
 * Only this state says what a page is, never a page table: the program's madvise, reclaim, or a collapse into a huge
 * page may remove an entry at any moment. So nothing is concluded from an entry. A handler installs each entry after
 * setting these flags; the one exception is the moment when a mapping is rebound, after which contents are compared
 * (mrn_hmm_cpu_rebind).
 */
#ifndef MRN_HMM_REGION_H
#define MRN_HMM_REGION_H

#include <errno.h>
#include <mrn/hmm.h>
#include <sys/mman.h>

#include "os/mutex.h"
#include "os/pages.h"

enum mrn_hmm_state { PAGE_HOLE, PAGE_NONE, PAGE_RAM, PAGE_DEVICE, PAGE_SWAPPED };

#define PAGE_BUSY	(1u << 0) /* locked: page_lock.h */
#define PAGE_WANTED	(1u << 1) /* and somebody wants to be told when it no longer is */
#define PAGE_LOST	(1u << 2) /* other code has unmapped it: the address may be reused */
#define PAGE_WRITABLE	(1u << 3)
#define PAGE_DIRTY	(1u << 4)
#define PAGE_SOFT_DIRTY (1u << 5)
#define PAGE_EXCLUSIVE	(1u << 6)
#define PAGE_ASKED	(1u << 7) /* a worker will serve the page fault, and wake the threads in it */
#define PAGE_TOLD	(1u << 8) /* a worker announces that it is lost, and makes it a hole */

struct mrn_hmm_page {
	uint64_t pfn;  /* DEVICE */
	uint32_t home; /* the frame that is mapped here */
	uint32_t slot; /* a copy in the backing file; 0: none */
	uint8_t state, prot;
	uint16_t flags;
};

#define MRN_HMM_MAX_ORDER 9

struct mrn_hmm_region {
	struct mrn_hmm *hmm;
	uintptr_t start, end;
	uint32_t refs;
	unsigned int order;
	/*
	 * Guards page[]; held briefly. Lock order: region, frames, backing; regions_lock and devices_lock nest with
	 * none.
	 */
	struct mrn_mutex lock;
	uint32_t settled; /* futex: goes up when pages are unlocked and a thread waits */
	uint32_t waiters;
	struct mrn_hmm_page page[];
};

static inline uintptr_t mrn_hmm_addr(const struct mrn_hmm_region *r, size_t i)
{
	return r->start + i * mrn_page_size();
}

static inline size_t mrn_hmm_pages(const struct mrn_hmm_region *r)
{
	return (r->end - r->start) / mrn_page_size();
}

/* The memory of a struct mrn_hmm_region, in bytes. */
static inline size_t mrn_hmm_region_memory(size_t pages)
{
	return sizeof(struct mrn_hmm_region) + pages * sizeof(struct mrn_hmm_page);
}

/* Of n pages, for a system call. */
static inline long mrn_hmm_bytes(size_t n)
{
	return (long)(n * mrn_page_size());
}

/* True if the page is a hole, or other code has made it one. */
static inline bool mrn_hmm_is_gone(const struct mrn_hmm_page *p)
{
	return p->state == PAGE_HOLE || (p->flags & PAGE_LOST);
}

/* 0; -EFAULT if the page may not be accessed, -EPERM if it may be read and not written. */
static inline int mrn_hmm_may_access(const struct mrn_hmm_page *p, bool write)
{
	if (mrn_hmm_is_gone(p) || !(p->prot & PROT_READ))
		return -EFAULT;
	return write && !(p->prot & PROT_WRITE) ? -EPERM : 0;
}

/* The region that contains addr, with a reference; or NULL. */
struct mrn_hmm_region *mrn_hmm_region_get(struct mrn_hmm *hmm, uintptr_t addr);
/* The same, or the next one above. */
struct mrn_hmm_region *mrn_hmm_region_next(struct mrn_hmm *hmm, uintptr_t addr);
/* Takes another reference; the caller has one. */
void mrn_hmm_region_hold(struct mrn_hmm_region *r);
void mrn_hmm_region_put(struct mrn_hmm_region *r);
/* Adds r to the space, which takes the caller's reference. 0 or -ENOMEM. */
int mrn_hmm_region_insert(struct mrn_hmm *hmm, struct mrn_hmm_region *r);
/* Removes r from the space, so that it is no longer found. False: another thread has. */
bool mrn_hmm_region_remove(struct mrn_hmm_region *r);

/* Sets and clears flags of pages, under the region's lock. */
void mrn_hmm_flags(struct mrn_hmm_region *r, size_t i, size_t n, unsigned int set,
		   unsigned int clear);
/* Makes pages holes, once nothing of theirs is left. */
void mrn_hmm_holes(struct mrn_hmm_region *r, size_t i, size_t n);

#endif
