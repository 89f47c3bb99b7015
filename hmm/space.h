/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside managed memory: what a space and a region are, and who may change a page.
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
 * BUSY is a lock on one page: the thread that set it may change the page and its mapping; all others read the page
 * under the region's lock. It is taken for several pages in one step, and, for two ranges, in the order of their
 * addresses.
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
#ifndef MRN_HMM_SPACE_H
#define MRN_HMM_SPACE_H

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
#define PAGE_WANTED	(1u << 1) /* a thread waits in a page fault until it is not BUSY */
#define PAGE_LOST	(1u << 2) /* other code has unmapped it: the address may be reused */
#define PAGE_WRITABLE	(1u << 3)
#define PAGE_DIRTY	(1u << 4)
#define PAGE_SOFT_DIRTY (1u << 5)
#define PAGE_EXCLUSIVE	(1u << 6)
#define PAGE_ASKED	(1u << 7) /* a worker will serve the page fault, and wake the threads in it */

struct mrn_hmm_page {
	uint64_t pfn;  /* DEVICE */
	uint32_t home; /* the frame that is mapped here */
	uint32_t slot; /* a copy in the backing file; 0: none */
	uint8_t state, prot;
	uint16_t flags;
};

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

/* A page fault of the CPU. */
struct mrn_hmm_fault {
	uintptr_t addr;
	pid_t tid;
	bool write;
};

/* See worker.c. lock guards all of it, and is a leaf. */
struct mrn_hmm_workers {
	struct mrn_mutex lock;
	uint32_t called; /* futex: goes up when there is a job */
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
	 * Held for reading from a check of LOST until the system call that relies on it has returned; for writing from
	 * before an event is read until its pages are marked. Taken before the others.
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
	int end; /* eventfd: tells the handlers to end */
	struct mrn_hmm_keeper keeper;

	struct mrn_hmm_workers workers;

	struct mrn_hmm_stats stats; /* each figure atomic */
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

/* Of n pages, for a system call. */
static inline long mrn_hmm_bytes(size_t n)
{
	return (long)(n * mrn_page_size());
}

/* ---- region.c */

/* The region that contains addr, with a reference; or NULL. */
struct mrn_hmm_region *mrn_hmm_region_get(struct mrn_hmm *hmm, uintptr_t addr);
/* The same, or the next one above. */
struct mrn_hmm_region *mrn_hmm_region_next(struct mrn_hmm *hmm, uintptr_t addr);
/* Takes another reference; the caller has one. */
void mrn_hmm_region_hold(struct mrn_hmm_region *r);
void mrn_hmm_region_put(struct mrn_hmm_region *r);
/* The size of struct mrn_hmm_region with its pages, in bytes. */
size_t mrn_hmm_region_memory(const struct mrn_hmm_region *r);
/* Removes r from the space, so that it is no longer found. False: another thread has. */
bool mrn_hmm_region_remove(struct mrn_hmm_region *r);

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
	int cancel; /* from mrn_cancel_hold: from begin to end the thread is not cancelled */
	struct mmu_notifier_range range;
};

/* The first check of every function that changes something: 0, -EINVAL, -ESTALE, -EDEADLK. */
int mrn_hmm_check(const struct mrn_hmm *hmm);
/* Finds the region of [addr, addr + length), with a reference. 0 or -EINVAL. */
int mrn_hmm_find(struct mrn_hmm *hmm, const void *addr, size_t length, struct mrn_hmm_region **r);

/*
 * Announces, then locks. The caller fills in r (a reference that end drops), first, n. 0, or -errno with the reference
 * dropped. With MRN_HMM_NONBLOCK -EAGAIN if a callback refuses; with MRN_HMM_TRYLOCK -EAGAIN if a page is locked.
 */
#define MRN_HMM_NONBLOCK (1u << 0)
#define MRN_HMM_TRYLOCK	 (1u << 1)
#define MRN_HMM_LATE	 (1u << 2) /* the change has happened already: MRN_RANGE_AFTER */
int mrn_hmm_change_begin(struct mrn_hmm_change *c, enum mmu_notifier_event event,
			 enum mrn_cause cause, void *owner, unsigned int flags);
void mrn_hmm_change_end(struct mrn_hmm_change *c);

/* find fills in r, first and n; on checks, finds and begins. 0, or -errno with nothing held. */
int mrn_hmm_change_find(struct mrn_hmm_change *c, struct mrn_hmm *hmm, const void *addr,
			size_t length);
int mrn_hmm_change_on(struct mrn_hmm_change *c, struct mrn_hmm *hmm, const void *addr,
		      size_t length, enum mmu_notifier_event event, enum mrn_cause cause,
		      void *owner, unsigned int flags);

/* ---- page_in.c */

/*
 * On locked pages. Gives each page that is NONE or SWAPPED a frame. 0, or -errno: pages before the failing one have
 * frames.
 */
int mrn_hmm_page_in(struct mrn_hmm_region *r, size_t i, size_t n);
/*
 * On locked pages, inside an invalidation, with the CPU's entries gone: brings DEVICE pages back, and ends the loan of
 * EXCLUSIVE pages.
 */
int mrn_hmm_take_back(struct mrn_hmm_region *r, size_t i, size_t n);
/*
 * On locked pages, inside an invalidation, with the CPU's entries gone: frees their frames, slots, or device memory.
 * All but holes are NONE afterwards.
 */
void mrn_hmm_drop(struct mrn_hmm_region *r, size_t i, size_t n);
/*
 * On locked pages whose entries are empty: gives them the frames [frame, frame + n), which hold their contents. Returns
 * how many pages, from i on, have their frames, or -errno with nothing changed.
 */
long mrn_hmm_put_in(struct mrn_hmm_region *r, size_t i, size_t n, uint64_t frame);
/*
 * On a locked RAM page: moves the dirty marks that devices set on its frame to the page. Call before a page leaves its
 * frame.
 */
void mrn_hmm_keep_dirt(struct mrn_hmm_region *r, size_t i);
/* Turns pages into holes: drops and unmaps them. */
void mrn_hmm_holes(struct mrn_hmm_region *r, size_t i, size_t n);
/* Sets and clears flags of pages, under the region's lock. */
void mrn_hmm_flags(struct mrn_hmm_region *r, size_t i, size_t n, unsigned int set,
		   unsigned int clear);

/*
 * On pages that the caller has not locked, outside any invalidation of its own: makes them RAM, and WRITABLE if write
 * is set, with the announcements that this needs. They are locked on success. 0, -EFAULT, -EPERM, or errors of page_in
 * and take_back.
 */
int mrn_hmm_fault_in(struct mrn_hmm_region *r, size_t i, size_t n, bool write);
/* In a region with an order: brings in the whole block around page i, if possible. */
void mrn_hmm_fill_block(struct mrn_hmm_region *r, size_t i);

/* ---- device.c */

/* The device that owns pfn; or NULL. */
struct mrn_hmm_device *mrn_hmm_device_of(struct mrn_hmm *hmm, uint64_t pfn);

/* ---- exclusive.c, device.c, ops.c, pin.c, reclaim.c: the functions of <mrn/hmm.h> */

/* ---- fault.c */

/* In a handler: serves a fault, or calls a worker for it. Never waits for other code. */
void mrn_hmm_serve(struct mrn_hmm *hmm, const struct mrn_hmm_fault *f);
/* In a worker: serves the fault for which it was called. */
void mrn_hmm_serve_asked(struct mrn_hmm *hmm, const struct mrn_hmm_fault *f);

/* ---- lost.c */

/*
 * Marks pages that have been unmapped. The caller holds `ours` for writing, so no thread is between its check of LOST
 * and its system call.
 */
void mrn_hmm_mark_lost(struct mrn_hmm *hmm, uintptr_t start, uintptr_t end);
/* Announces the marked pages, and turns them into holes. */
void mrn_hmm_lose(struct mrn_hmm *hmm);

/* ---- handler.c */

/* Called by the keeper, whose descriptor table the handlers share. hmm->handler has room for n. */
int mrn_hmm_handlers_start(struct mrn_hmm *hmm, unsigned int n);
void mrn_hmm_handlers_stop(struct mrn_hmm *hmm);

/* ---- worker.c */

int mrn_hmm_workers_start(struct mrn_hmm *hmm);
/* Call after mrn_hmm_handlers_stop: no handler calls a worker any more. */
void mrn_hmm_workers_stop(struct mrn_hmm *hmm);
/* Frees the workers' memory; also in a forked child, where the threads do not exist. Takes no lock. */
void mrn_hmm_workers_free(struct mrn_hmm *hmm);
/* False if there is no memory for a job. */
bool mrn_hmm_call_worker(struct mrn_hmm *hmm, const struct mrn_hmm_fault *f);
/* Makes a worker handle lost pages. */
void mrn_hmm_kick(struct mrn_hmm *hmm);

#endif
