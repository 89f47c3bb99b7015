/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Managed memory inside: what a space and a region are, and who may change a page.
 *
 * The kernel's mapping of a region is a view of the frames' memfd. Page i of a region shows the frame
 * page[i].home, whatever its state; but in any state other than RAM, or lent, its page table entry is
 * empty, and a touch is a fault that a handler serves.
 *
 *	HOLE	  nothing, not even a mapping of ours that may be read
 *	NONE	  reads as zeros
 *	RAM	  its contents are in frame home, which is its own
 *	DEVICE	  its contents are on a device, at pfn
 *	SWAPPED	  its contents are in the backing file, at slot
 *
 * BUSY is a lock on one page: who has set it may change the page and the kernel's mapping of it; all
 * else reads the page under the region's lock. It is taken for several pages in one step, and, for two
 * ranges, in the order of their addresses.
 *
 * A change of a translation: start; lock pages; zap, change; end; unlock pages. A page that gets its
 * first translation (NONE, SWAPPED to RAM) needs no start.
 *
 * Invariants, of a page that is not BUSY:
 *	WRITABLE  => state == RAM && !EXCLUSIVE && (DIRTY && SOFT_DIRTY)
 *	the CPU's entry allows writes => WRITABLE
 *	EXCLUSIVE => state == RAM, and the CPU has no entry
 *	state == RAM && !DIRTY => contents == (slot ? the backing file's : zeros), unless the frame is
 *	dirty by a device
 *	state == SWAPPED => slot
 *	written to since soft-dirty was last taken => SOFT_DIRTY, or state == RAM and its frame is soft-dirty, or
 *	state == DEVICE
 *
 * What a page is stands here, never in a page table: an entry that is there may be gone a moment later, by advice of
 * the program's, by reclaim, by a collapse into a huge page, and one that is not there may have been. So nothing is
 * concluded from what an entry is. Each entry comes by a handler, after these flags; and where one can come
 * otherwise, which is while a mapping is rebound, contents are compared (mrn_hmm_cpu_rebind).
 */
#ifndef MRN_HMM_HMM_H
#define MRN_HMM_HMM_H

#include <mrn/hmm.h>
#include <pthread.h>
#include <sys/types.h>

#include "os/rwlock.h"
#include "hmm/backing.h"
#include "hmm/frames.h"
#include "hmm/keeper.h"
#include "os/mutex.h"

enum mrn_hmm_state { PAGE_HOLE, PAGE_NONE, PAGE_RAM, PAGE_DEVICE, PAGE_SWAPPED };

#define PAGE_BUSY	(1u << 0)
#define PAGE_WANTED	(1u << 1) /* a thread of the CPU waits in a fault until it is not BUSY */
#define PAGE_LOST	(1u << 2) /* somebody has unmapped it: the address may be anybody's */
#define PAGE_WRITABLE	(1u << 3)
#define PAGE_DIRTY	(1u << 4)
#define PAGE_SOFT_DIRTY (1u << 5)
#define PAGE_EXCLUSIVE	(1u << 6)
#define PAGE_ASKED	(1u << 7) /* a worker will serve the CPU's fault, and wake whoever waits */

struct mrn_hmm_page {
	uint64_t pfn;  /* DEVICE */
	uint32_t home; /* what the kernel's mapping shows here */
	uint32_t slot; /* a copy in the backing file; 0: none */
	uint8_t state, prot;
	uint16_t flags;
};

struct mrn_hmm_region {
	struct mrn_hmm *hmm;
	uintptr_t start, end;
	uint32_t refs;
	unsigned int order;
	/* Guards page[], short. Lock order: region, frames, backing; regions and devices stand alone. */
	struct mrn_mutex lock;
	uint32_t settled; /* futex: goes up when pages are unlocked and somebody waits */
	uint32_t waiters;
	struct mrn_hmm_page page[];
};

/* A page fault of the CPU. */
struct mrn_hmm_fault {
	uintptr_t addr;
	pid_t tid;
	bool write;
};

/* See worker.c. lock guards all of it, and is a leaf. */
struct mrn_hmm_workers {
	struct mrn_mutex lock;
	uint32_t called; /* futex: goes up when there is something to do */
	unsigned int idle;
	bool lose, ending;
	struct mrn_hmm_fault *job; /* a ring */
	size_t first, n, room;
	struct mrn_hmm_worker *list;
};

struct mrn_hmm {
	struct mrn_mm *mm;
	struct mrn_hmm_frames frames;
	struct mrn_hmm_backing backing;
	int uffd;
	bool read_only_maps; /* the kernel can install an entry write-protected */
	const char *why;

	/*
	 * Held for reading from a look at LOST until the system call that relies on it is over; for
	 * writing from before an event is read until what it says is marked. Taken before the others.
	 */
	struct mrn_rwlock ours;

	struct mrn_mutex regions_lock;
	struct mrn_hmm_region **region; /* by address */
	size_t nr_regions, room;

	struct mrn_mutex devices_lock;
	struct mrn_hmm_device *devices;
	uint64_t next_pfn;

	/* handler.c */
	pthread_t *handler;
	unsigned int nr_handlers;
	int end; /* eventfd: the end */
	struct mrn_hmm_keeper keeper;

	struct mrn_hmm_workers workers;

	struct mrn_hmm_stats stats; /* atomic, each for itself */
};

#define MRN_HMM_COUNT(hmm, field, n) \
	__atomic_fetch_add(&(hmm)->stats.field, (uint64_t)(n), __ATOMIC_RELAXED)

static inline uintptr_t mrn_hmm_addr(const struct mrn_hmm_region *r, size_t i)
{
	return r->start + i * mrn_page_size();
}

static inline size_t mrn_hmm_pages(const struct mrn_hmm_region *r)
{
	return (r->end - r->start) / mrn_page_size();
}

/* ---- region.c */

/* The region around addr, with a reference; NULL. */
struct mrn_hmm_region *mrn_hmm_region_get(struct mrn_hmm *hmm, uintptr_t addr);
/* The same, or the next one above. */
struct mrn_hmm_region *mrn_hmm_region_next(struct mrn_hmm *hmm, uintptr_t addr);
/* Another reference, for who has one. */
void mrn_hmm_region_hold(struct mrn_hmm_region *r);
void mrn_hmm_region_put(struct mrn_hmm_region *r);
/* What a region itself takes up, bytes. */
size_t mrn_hmm_region_memory(const struct mrn_hmm_region *r);
/* Takes r out of the space: nobody finds it any more. False: somebody else has. */
bool mrn_hmm_region_remove(struct mrn_hmm_region *r);
/*
 * Gives the addresses back, but for what has been lost already. From here on all of it counts as lost:
 * who has waited for these pages until now must not touch them.
 */
void mrn_hmm_region_release(struct mrn_hmm_region *r);

/* ---- page_lock.c: pages [i, i + n) */

void mrn_hmm_lock(struct mrn_hmm_region *r, size_t i, size_t n);
bool mrn_hmm_trylock(struct mrn_hmm_region *r, size_t i, size_t n);
void mrn_hmm_unlock(struct mrn_hmm_region *r, size_t i, size_t n);
/* Waits until page i is not BUSY, with the region's lock held before and after. */
void mrn_hmm_wait(struct mrn_hmm_region *r, size_t i);

/* ---- change.c: an invalidation of pages, bracketed, with the pages locked */

struct mrn_hmm_change {
	struct mrn_hmm_region *r;
	size_t first, n;
	int cancel; /* what mrn_cancel_hold has returned: from begin to end the thread is not cancelled */
	struct mmu_notifier_range range;
};

/* What every function that changes something checks first: 0, -EINVAL, -ESTALE, -EDEADLK. */
int mrn_hmm_check(const struct mrn_hmm *hmm);
/* Finds the region of [addr, addr + length), with a reference. 0 or -EINVAL. */
int mrn_hmm_find(struct mrn_hmm *hmm, const void *addr, size_t length, struct mrn_hmm_region **r);

/*
 * Announces, then locks. The caller fills in r (a reference that end drops), first, n. 0, or -errno
 * with the reference dropped. With MRN_HMM_NONBLOCK -EAGAIN where a callback refuses; with
 * MRN_HMM_TRYLOCK -EAGAIN where a page is locked.
 */
#define MRN_HMM_NONBLOCK (1u << 0)
#define MRN_HMM_TRYLOCK	 (1u << 1)
#define MRN_HMM_LATE	 (1u << 2) /* it has happened already: MRN_RANGE_AFTER */
int mrn_hmm_change_begin(struct mrn_hmm_change *c, enum mmu_notifier_event event,
			 enum mrn_cause cause, void *owner, unsigned int flags);
void mrn_hmm_change_end(struct mrn_hmm_change *c);

/* Fills in r, first and n; and: checks, fills in, begins. 0 or -errno, with nothing held. */
int mrn_hmm_change_find(struct mrn_hmm_change *c, struct mrn_hmm *hmm, const void *addr,
			size_t length);
int mrn_hmm_change_on(struct mrn_hmm_change *c, struct mrn_hmm *hmm, const void *addr,
		      size_t length, enum mmu_notifier_event event, enum mrn_cause cause,
		      void *owner, unsigned int flags);

/* ---- page_in.c */

/*
 * On locked pages. Gives each of the pages that are NONE or SWAPPED a frame. 0 or -errno: those before
 * the one that could not be brought in have one.
 */
int mrn_hmm_page_in(struct mrn_hmm_region *r, size_t i, size_t n);
/*
 * On locked pages, inside an invalidation, with the CPU's entries gone: brings those that are DEVICE
 * back, and ends the loan of those that are EXCLUSIVE.
 */
int mrn_hmm_take_back(struct mrn_hmm_region *r, size_t i, size_t n);
/*
 * On locked pages, inside an invalidation, with the CPU's entries gone: gives back what they have, be
 * it a frame, a slot, or memory of a device. All but holes are NONE afterwards.
 */
void mrn_hmm_drop(struct mrn_hmm_region *r, size_t i, size_t n);
/*
 * On locked pages whose entries are empty: their contents are in frames [frame, frame + n) now. How many of them,
 * from i on, have their frames, or -errno with nothing changed.
 */
long mrn_hmm_put_in(struct mrn_hmm_region *r, size_t i, size_t n, uint64_t frame);
/*
 * On locked pages that are RAM: what devices have said of their frames is the pages' own from now on. Before a page
 * leaves its frame.
 */
void mrn_hmm_keep_dirt(struct mrn_hmm_region *r, size_t i);
/* They are holes now: dropped and unmapped. */
void mrn_hmm_holes(struct mrn_hmm_region *r, size_t i, size_t n);
/* Sets and clears flags of pages, under the region's lock. */
void mrn_hmm_flags(struct mrn_hmm_region *r, size_t i, size_t n, unsigned int set,
		   unsigned int clear);

/*
 * On pages that the caller has not locked, outside of any invalidation of its own: makes them RAM, and
 * WRITABLE when write is set, and announces what has to be. They are locked on success. 0, -EFAULT,
 * -EPERM, or what page_in and take_back say.
 */
int mrn_hmm_fault_in(struct mrn_hmm_region *r, size_t i, size_t n, bool write);
/* Where pages come in blocks: brings in the one around page i, if nothing stands against it. */
void mrn_hmm_fill_block(struct mrn_hmm_region *r, size_t i);

/* ---- device.c */

/* Whose memory pfn is. NULL for nobody's. */
struct mrn_hmm_device *mrn_hmm_device_of(struct mrn_hmm *hmm, uint64_t pfn);

/* ---- exclusive.c, device.c, ops.c, pin.c, reclaim.c: the functions of <mrn/hmm.h> */

/* ---- fault.c */

/* In a handler: serves a fault, or calls a worker for it. Never waits for anybody's code. */
void mrn_hmm_serve(struct mrn_hmm *hmm, const struct mrn_hmm_fault *f);
/* In a worker: what it was called for. */
void mrn_hmm_serve_asked(struct mrn_hmm *hmm, const struct mrn_hmm_fault *f);

/* ---- lost.c */

/* What has been unmapped; by whoever has `ours` for writing, so with nobody between a look and what he does. */
void mrn_hmm_mark_lost(struct mrn_hmm *hmm, uintptr_t start, uintptr_t end);
/* Announces what has been marked, and makes holes of it. */
void mrn_hmm_lose(struct mrn_hmm *hmm);

/* ---- handler.c */

/* By the keeper, whose table of descriptors they have. handler has room for n. */
int mrn_hmm_handlers_start(struct mrn_hmm *hmm, unsigned int n);
void mrn_hmm_handlers_stop(struct mrn_hmm *hmm);

/* ---- worker.c */

int mrn_hmm_workers_start(struct mrn_hmm *hmm);
/* After the handlers: nobody calls any more. */
void mrn_hmm_workers_stop(struct mrn_hmm *hmm);
/* Their memory; also in a child, where no thread is. Takes no lock. */
void mrn_hmm_workers_free(struct mrn_hmm *hmm);
/* False without memory. */
bool mrn_hmm_call_worker(struct mrn_hmm *hmm, const struct mrn_hmm_fault *f);
/* Has a worker look for lost pages. */
void mrn_hmm_kick(struct mrn_hmm *hmm);

#endif
