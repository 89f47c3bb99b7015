/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Managed memory, and hmm_range_fault.
 *
 * A *managed address space* is memory that a device and the CPU share page by page. The CPU uses it with plain loads
 * and stores. A device addresses it by *frame*: the number of a page of system memory, independent of the virtual
 * addresses that map it; the device's DMA goes to mrn_hmm_frame. Pages can be migrated to a device's own memory, and
 * come back when the CPU touches them; be lent to a device exclusively; be protected, discarded, moved, and written to
 * a backing file. Every change is an invalidation on the space's mm (mrn_hmm_mm), bracketed, so a consumer uses
 * <mrn/mmu_notifier.h>:
 *
 *	again:	range.notifier_seq = mmu_range_read_begin(range.notifier);
 *		r = hmm_range_fault(&range);
 *		if (r == -EBUSY)
 *			goto again;
 *		pthread_mutex_lock(&driver_lock);
 *		if (mmu_range_read_retry(range.notifier, range.notifier_seq)) {
 *			pthread_mutex_unlock(&driver_lock);
 *			goto again;
 *		}
 *		program the device from range.hmm_pfns
 *		pthread_mutex_unlock(&driver_lock);
 *
 * hmm_range_fault also works on this process's own memory (see below). Managed memory announces all its changes, without a
 * source: insert notifiers with mmu_range_notifier_insert.
 *
 * Conventions. Functions return 0 or -errno unless stated otherwise. addr and length are in bytes, multiples of the OS
 * page, within one region; otherwise -EINVAL. -ESTALE: a forked child used its parent's space; the child has neither
 * the pages nor the addresses. A function that announces an invalidation may block in its callbacks, so do not call it
 * with a driver lock held, nor from a callback (-EDEADLK). Only mrn_hmm_frame may be called from a signal handler. No
 * function here is a cancellation point.
 *
 * Do not touch managed memory from the CPU with a driver lock held, or in a signal handler that may interrupt the
 * lock's holder: the page fault may wait for a callback that wants the lock. A callback may touch pages outside the
 * range being invalidated, and wait for a thread that does, if neither holds a lock that another callback takes: page
 * faults, and the callbacks that they need, are served even while other callbacks and devices are busy.
 */
#ifndef MRN_HMM_H
#define MRN_HMM_H

#include <mrn/mmu_notifier.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mrn_hmm;
struct mrn_hmm_device;

/* ------------------------------------------------------------------------------- address spaces */

struct mrn_hmm_opts {
	size_t size; /* sizeof(struct mrn_hmm_opts) */
	/* How many frames of system memory (OS pages) can be in use at once. 0 means 1 << 20. */
	uint64_t frames;
	/*
	 * Threads that serve the CPU's page faults; 0 means 1. Callbacks, device functions and backing file reads that
	 * a fault needs run in worker threads; the space always keeps one worker idle.
	 */
	unsigned int handlers;
	/*
	 * Where mrn_hmm_reclaim and mrn_hmm_writeback write pages: a seekable file, open for reading and writing, whose
	 * contents are lost. The caller closes the descriptor, best after mrn_hmm_destroy; the space uses the file
	 * until then, even if the descriptor is closed or reused. -1 means no file; so does 0, so that a zeroed
	 * structure has none.
	 */
	int backing_fd;
	/*
	 * For debugging a device: how many frames to quarantine; 0 means none. A frame that no device may use any
	 * longer is filled with MRN_HMM_POISON, and is not reused until this many more have followed it. Then it is
	 * checked: if a word is not the poison, a device wrote to it through a stale shadow, and violation, if set, is
	 * called once for the frame: from any thread, with internal locks held; it must not call back into the space.
	 */
	uint64_t quarantine;
	void (*violation)(void *arg, uint64_t frame, size_t offset, uint64_t found);
	void *violation_arg;
	char *why;	 /* receives one sentence when creation fails; or NULL */
	size_t why_size; /* bytes */
};

/* What every 64-bit word of a frame in quarantine holds. The low 32 bits are the frame number. */
#define MRN_HMM_POISON(frame)	 (UINT64_C(0xdeadf4a3) << 32 | (uint32_t)(frame))
#define MRN_HMM_IS_POISON(value) ((value) >> 32 == UINT64_C(0xdeadf4a3))

/*
 * Creates an address space without regions. opts may be NULL. mrn_hmm_destroy frees *out.
 *
 * Errors: -E2BIG (size); -EINVAL, also for more than 1 << 32 frames, more than 64 handlers, or a quarantine that is not less than the
 * frames; -EBADF when the backing file is not open for reading and
 * writing, not seekable, or open with O_APPEND; -ENOMEM; -EPERM when this process may not create a userfaultfd, or
 * give a thread its own descriptor table (close_range or unshare); -ENOSYS and -EOPNOTSUPP when the kernel lacks
 * userfaultfd, or minor faults on shared memory (Linux 5.19); -EMFILE; -EFBIG for more frames than RLIMIT_FSIZE lets a
 * file have; -EAGAIN when no thread can be created. opts->why then says what is missing and how to allow it.
 */
int mrn_hmm_create(const struct mrn_hmm_opts *opts, struct mrn_hmm **out);

/*
 * Destroys the space: ends its mm as mrn_mm_destroy does, then frees all regions. Pages of device memory are returned
 * through ops->free. Pins that are still held are dropped. The caller makes sure that no thread is in a function of
 * this space or touches its memory.
 *
 * Errors: -EINVAL; -EDEADLK; -ESTALE, after freeing the child's copy.
 */
int mrn_hmm_destroy(struct mrn_hmm *hmm);

/* The mm on which this space announces its changes; valid until mrn_hmm_destroy. Does not block. */
struct mrn_mm *mrn_hmm_mm(struct mrn_hmm *hmm);

/* What missing privileges disable: one static sentence, or "". */
const char *mrn_hmm_why(const struct mrn_hmm *hmm);

struct mrn_hmm_stats {
	uint64_t cpu_faults;	/* all CPU page faults */
	uint64_t device_faults; /* pages that hmm_range_fault or mrn_hmm_pin faulted in */
	uint64_t swapped_out, swapped_in;
	uint64_t to_device, to_ram; /* pages migrated */
	uint64_t frames_used, frames_quarantined;
	uint64_t violations;
	uint64_t unserved; /* those of cpu_faults that got a SIGBUS */
};

/* Fills *stats, size bytes, with the counters so far. Each is exact; they are not read at one instant. */
int mrn_hmm_get_stats(struct mrn_hmm *hmm, struct mrn_hmm_stats *stats, size_t size);

/* ---------------------------------------------------------------------------------------- regions */

/*
 * Creates a region: length bytes of zeroed memory at an address that the library chooses, with the protection prot
 * (PROT_READ, PROT_WRITE, or PROT_NONE). order (0 .. 9): the region is aligned to blocks of 2^order pages, and filled
 * in such blocks while frames are available. A forked child does not inherit it. The region lives until mrn_hmm_free.
 *
 * When a CPU page fault finds no frame, or the page cannot be read from the backing file or copied from a device, the
 * thread gets a SIGBUS with that address, as from a truncated file. If the program's handler returns, the access is
 * retried; a system call that accesses the page keeps retrying in the kernel.
 *
 * Errors: -EINVAL; -ENOMEM; -ESTALE.
 */
int mrn_hmm_alloc(struct mrn_hmm *hmm, size_t length, int prot, unsigned int order, void **addr);

/*
 * Frees the region that begins at addr, and its address range (MMU_NOTIFY_UNMAP).
 * Errors: -EINVAL when no region begins there; -EDEADLK; -ESTALE.
 */
int mrn_hmm_free(struct mrn_hmm *hmm, void *addr);

/*
 * unmap removes the pages of part of a region, as munmap does (MMU_NOTIFY_UNMAP), and leaves a hole: the addresses stay
 * reserved, and touching them is a SIGSEGV. map fills holes with fresh memory; -EEXIST, with nothing changed, when some
 * page of the range is not a hole.
 *
 * A plain munmap of part of a region is detected: the pages are lost, and an invalidation with MRN_RANGE_AFTER
 * announces it, some time after the munmap has returned. Such addresses cannot be mapped again (-ENOTCONN) until the
 * region is freed.
 *
 * Errors: -EINVAL; -ENOMEM (the kernel's limit of mappings, vm.max_map_count; nothing has changed);
 * -EDEADLK; -ESTALE.
 */
int mrn_hmm_unmap(struct mrn_hmm *hmm, void *addr, size_t length);
int mrn_hmm_map(struct mrn_hmm *hmm, void *addr, size_t length, int prot);

/*
 * Moves pages, as mremap(MREMAP_FIXED) does (MMU_NOTIFY_UNMAP for both ranges, one after the other): the pages at `to`
 * are discarded, those at `from` move to `to`, and `from` becomes a hole. The two ranges may be in different regions,
 * and must not overlap. Touching `to` meanwhile may be a SIGSEGV, as touching `from` is afterwards.
 *
 * Errors, with nothing changed: -EINVAL; -EFAULT for a hole at `from`; -ENOTCONN for lost addresses at `to`; -EDEADLK;
 * -ESTALE. -ENOMEM (the kernel's limit of mappings): the pages at `to` may be gone, some pages may have been moved, and
 * the others are where they were.
 */
int mrn_hmm_move(struct mrn_hmm *hmm, void *from, void *to, size_t length);

/*
 * Sets the protection, as mprotect (MMU_NOTIFY_PROTECTION_VMA).
 * Errors: -EINVAL; -ENOMEM for a hole, or the kernel's limit of mappings; -EDEADLK; -ESTALE.
 */
int mrn_hmm_protect(struct mrn_hmm *hmm, void *addr, size_t length, int prot);

/*
 * Discards contents, as MADV_DONTNEED does on private memory (MMU_NOTIFY_CLEAR): the pages read as zeros from then on.
 * reap does so without waiting, as the kernel's OOM reaper: -EAGAIN, with nothing changed, when a callback refuses or
 * another thread is changing a page.
 *
 * Errors: -EINVAL; -EDEADLK; -ESTALE. Holes are skipped.
 */
int mrn_hmm_discard(struct mrn_hmm *hmm, void *addr, size_t length);
int mrn_hmm_reap(struct mrn_hmm *hmm, void *addr, size_t length);

/*
 * Moves pages to other frames, as compaction does (MMU_NOTIFY_CLEAR). Skips pinned pages and pages that are not in
 * system memory. In a region with an order, a block that lies wholly in the range, in system memory, with one protection
 * and no pin, is contiguous afterwards, while frames are available. Returns how many moved.
 *
 * Errors: -EINVAL; -ENOMEM without frames or mappings: pages already moved stay moved; -EDEADLK; -ESTALE.
 */
long mrn_hmm_compact(struct mrn_hmm *hmm, void *addr, size_t length);

/* ----------------------------------------------------------------------------------- backing file */

/*
 * Writes pages to the backing file and frees their frames (MMU_NOTIFY_CLEAR); the next touch reads them back. A page
 * that has a copy there and is not dirty is not written again. A page is dirty when the CPU has written to it, when
 * hmm_range_fault or mrn_hmm_pin was asked for write access, or after mrn_hmm_set_dirty. Pinned pages are skipped.
 * Returns how many pages were reclaimed.
 *
 * Errors: -EINVAL; -EBADF without a backing file; any error of writing it (-ENOSPC, -EIO, ...): the page that could not
 * be written and those after it stay in memory; -EDEADLK; -ESTALE.
 */
long mrn_hmm_reclaim(struct mrn_hmm *hmm, void *addr, size_t length);

/*
 * Writes dirty pages, pinned ones too, to the backing file, and keeps them in memory, clean and write-protected
 * (MMU_NOTIFY_PROTECTION_PAGE). Returns how many were written. Errors: as reclaim.
 */
long mrn_hmm_writeback(struct mrn_hmm *hmm, void *addr, size_t length);

/*
 * Soft-dirty: which pages have been written to since the last call, one byte per page, 1 or 0. This counts writes by
 * the CPU, and those that devices report (mrn_hmm_set_dirty, mrn_hmm_unpin), in the callback of this invalidation at
 * the latest. Pages are dirty at first, while they are on a device or lent, and when they come back from a device.
 * Before Linux 6.6, a page that was not in memory counts as written once it is read.
 *
 * take reads and clears in one step, and write-protects the pages again (MMU_NOTIFY_SOFT_DIRTY): each write, even a
 * concurrent one, is in this answer or in the next. To keep a copy of a region up to date, call take, then copy the
 * pages that it reported. clear only clears. soft_dirty only reads: reading and then clearing loses the writes in
 * between.
 *
 * Errors: -EINVAL; -EDEADLK; -ESTALE. soft_dirty does not block.
 */
int mrn_hmm_take_soft_dirty(struct mrn_hmm *hmm, void *addr, size_t length, uint8_t *dirty);
int mrn_hmm_clear_soft_dirty(struct mrn_hmm *hmm, void *addr, size_t length);
int mrn_hmm_soft_dirty(struct mrn_hmm *hmm, void *addr, size_t length, uint8_t *dirty);

/* ----------------------------------------------------------------------------------------- frames */

/*
 * The memory of a frame, one OS page, which a device reads and writes. Valid until mrn_hmm_destroy, whatever happens to
 * the addresses that map the frame: the device follows the protocol to know whether the frame still belongs to the same
 * page. NULL for a number that is not a frame. Does not block; may be called from anywhere.
 */
void *mrn_hmm_frame(struct mrn_hmm *hmm, uint64_t frame);

/*
 * Reports that a device has written to the frame, for mrn_hmm_reclaim and for soft-dirty, as set_page_dirty in the
 * kernel. Call it before the shadow is torn down. Does not block; may be called from callbacks.
 */
void mrn_hmm_set_dirty(struct mrn_hmm *hmm, uint64_t frame);

/*
 * Pins pages, as pin_user_pages: brings each to system memory and writes its frame to frames[]. A page that is pinned
 * is neither reclaimed nor given another frame; if it is unmapped or discarded, the frame lives on, detached, until
 * unpinned. A pin alone says nothing about coherence: check with the retry. write: for writing, too.
 *
 * Returns length in pages. Errors, with nothing pinned: -EINVAL; -EFAULT for a hole or a page whose protection forbids
 * the access; -ENOMEM; -EIO and the like from the backing file; -ESTALE. Announces an invalidation when a page has to
 * come back from a device or a borrower.
 */
long mrn_hmm_pin(struct mrn_hmm *hmm, const void *addr, size_t length, bool write,
		 uint64_t *frames);

/*
 * Drops the pins; dirty: as mrn_hmm_set_dirty for each. Does not block; may be called from
 * callbacks.
 */
void mrn_hmm_unpin(struct mrn_hmm *hmm, const uint64_t *frames, size_t n, bool dirty);

/* ------------------------------------------------------------------------------- device memory */

/*
 * A device's own memory, whose pages the device numbers. The functions may block and allocate. They run inside an
 * invalidation of the pages that they copy, while no other thread or device can reach these; they must not call a
 * function that announces an invalidation, nor leave by longjmp or an exception. Cancellation is deferred until the mrn
 * function that called them has returned.
 */
struct mrn_hmm_device_ops {
	/* Allocates up to n pages of device memory; returns how many are in pages[], or -errno. */
	long (*alloc)(struct mrn_hmm_device *dev, size_t n, uint64_t *pages);
	/* Frees pages, whose contents are no longer needed. */
	void (*free)(struct mrn_hmm_device *dev, size_t n, const uint64_t *pages);
	/* Copy n pages between device memory and frames of system memory. 0 or -errno. */
	int (*copy_to_device)(struct mrn_hmm_device *dev, size_t n, const uint64_t *pages,
			      void *const *frames);
	int (*copy_to_ram)(struct mrn_hmm_device *dev, size_t n, void *const *frames,
			   const uint64_t *pages);
};

/* The caller zeroes it, sets ops and pages, and keeps it until remove. */
struct mrn_hmm_device {
	const struct mrn_hmm_device_ops *ops;
	uint64_t pages; /* its pages are numbered below this */
	/* private */
	struct mrn_hmm *hmm;
	uint64_t first;
	struct mrn_hmm_device *next;
};

/*
 * Add and remove a device with memory. remove migrates everything back first; the caller makes sure that no
 * mrn_hmm_migrate_to_device to this device, and no mrn_hmm_move, is in progress or begins.
 *
 * Errors of add: -EINVAL; -EBUSY when added already; -ENOSPC when no page numbers are left; -ESTALE. Of remove:
 * -ENOENT; -EINVAL; those of mrn_hmm_migrate_to_ram: then the device remains.
 */
int mrn_hmm_device_add(struct mrn_hmm *hmm, struct mrn_hmm_device *dev);
int mrn_hmm_device_remove(struct mrn_hmm *hmm, struct mrn_hmm_device *dev);

/*
 * Migrates pages to the device's memory (MMU_NOTIFY_MIGRATE, owner dev), from system memory or the backing file; an
 * untouched page goes as zeros. A CPU access, or a request of another device, brings a page back (MMU_NOTIFY_MIGRATE,
 * owner dev). Pages that are on the device already stay and count. Skips holes, pages that may not be read, pinned
 * pages, and pages on another device.
 *
 * A consumer may skip a MIGRATE event with its own owner only if its own call caused the event: a page that a CPU
 * access brings back is announced with the same owner.
 *
 * Returns how many of the range's pages are on the device now. pfns, when not NULL, gets one entry per page: for a
 * readable page on the device, what hmm_range_fault reports for that owner; otherwise 0.
 *
 * Errors: -EINVAL; -ENOENT when dev was not added; if no page of the range is on the device: any error of alloc,
 * copy_to_device or reading the backing file, and -ENOMEM; -EDEADLK; -ESTALE.
 */
long mrn_hmm_migrate_to_device(struct mrn_hmm *hmm, struct mrn_hmm_device *dev, void *addr,
			       size_t length, unsigned long *pfns);

/*
 * Brings pages back from all devices (MMU_NOTIFY_MIGRATE; owner: the device that had the page). Returns how many came.
 * Errors: -EINVAL; -ENOMEM; those of copy_to_ram; -EDEADLK; -ESTALE.
 */
long mrn_hmm_migrate_to_ram(struct mrn_hmm *hmm, void *addr, size_t length);

/* True if pfn (flags are ignored) is a page of dev's memory; its number there is put into *page. */
bool mrn_hmm_device_page(const struct mrn_hmm_device *dev, unsigned long pfn, uint64_t *page);

/*
 * Lends pages to owner exclusively (MMU_NOTIFY_EXCLUSIVE with that owner), for atomic operations of a device: the CPU's
 * translations are removed, and a CPU access, or another consumer's fault, takes the page back, announced as
 * MMU_NOTIFY_EXCLUSIVE without an owner. pfns gets one entry per page: VALID, WRITE, and what hmm_range_fault reports.
 * Call read_begin before and read_retry after, as always.
 *
 * Returns how many pages are lent. Errors, with none lent: -EINVAL, also without owner or pfns; -EFAULT for a hole or a
 * page that may not be read, -EPERM for one that may not be written; any error of bringing a page in; -ENOMEM;
 * -EDEADLK; -ESTALE.
 */
long mrn_hmm_make_exclusive(struct mrn_hmm *hmm, void *addr, size_t length, void *owner,
			    unsigned long *pfns);

/* --------------------------------------------------------------------------------- hmm_range_fault */

/*
 * An entry of hmm_pfns. Out: flags, the order of the mapping, and the page's number: a frame (mrn_hmm_frame) or a page
 * of a device's memory (mrn_hmm_device_page). No flags: no page is present, and a fault would bring one in. In: the
 * request.
 */
/* Out: a page is present and may be read. */
#define HMM_PFN_VALID (1ul << 63)
/* Out: the page may also be written. */
#define HMM_PFN_WRITE (1ul << 62)
/* Out: no page, and a fault would not bring one in: a hole, or memory that may not be read. */
#define HMM_PFN_ERROR (1ul << 61)
/* Out: the mapping is an aligned block of 2^order pages, contiguous in memory. 5 bits. */
#define HMM_PFN_ORDER_SHIFT 56
/* In: FAULT requests VALID; with WRITE it requests WRITE, too. WRITE alone requests nothing. */
#define HMM_PFN_REQ_FAULT HMM_PFN_VALID
#define HMM_PFN_REQ_WRITE HMM_PFN_WRITE
#define HMM_PFN_FLAGS	  (0xfful << HMM_PFN_ORDER_SHIFT)

static inline uint64_t mrn_hmm_pfn_to_frame(unsigned long pfn)
{
	return pfn & ~HMM_PFN_FLAGS;
}

static inline unsigned int hmm_pfn_to_map_order(unsigned long pfn)
{
	return (pfn >> HMM_PFN_ORDER_SHIFT) & 0x1f;
}

struct hmm_range {
	struct mmu_range_notifier *notifier; /* covers the range; its mm is the memory's */
	uint64_t notifier_seq;		     /* of mmu_range_read_begin */
	uintptr_t start, end;		     /* bytes, OS-page aligned */
	unsigned long *hmm_pfns;	     /* (end - start) / page size entries, the caller's */
	/* The request for a page is (hmm_pfns[i] & pfn_flags_mask) | default_flags. No request means a snapshot. */
	unsigned long default_flags, pfn_flags_mask;
	void *dev_private_owner; /* pages on this device are reported; those on others come back */
};

/*
 * Reads the translations of a range, and faults in missing pages on request. It holds nothing when it returns: the
 * entries are speculation until mmu_range_read_retry, under the driver lock.
 *
 * Errors: -EBUSY on a collision with an invalidation, and, on this process's own memory, when another thread has
 * meanwhile closed or replaced the descriptors that the call opened: begin again (inside this thread's own
 * invalidation, retrying never ends; mrn_hmm_range_fault_until returns -EDEADLK); -EPERM when write access is requested
 * and not allowed; -EFAULT when the request cannot be met: a hole, memory that may not be read, past the end of a file;
 * -EINVAL for a range that is empty, not aligned, outside the notifier's, or of an mm that is neither managed nor
 * mrn_mm_self(); -ENOMEM without frames, and for a page of this process that the kernel takes away as fast as it comes;
 * any error of reading the backing file, a device's copy_to_ram, or opening files in /proc; -EDEADLK from a callback;
 * -ESTALE. After an error ignore the entries. Waits for pages that are being changed. Do not call it with a driver lock
 * held.
 *
 * On managed memory the answer is exact. It differs from the kernel's in one case: write access is requested to a page
 * on the device of dev_private_owner. The kernel checks no request there, and reports such a page as it is: without
 * WRITE, and as a success, if its mapping is read-only, and also if it was read-only for a while since the page
 * migrated. A driver that does not look at WRITE then writes to memory that may not be written. Here it is as with any
 * other page: -EPERM if the mapping is read-only, and WRITE if it is writable. A driver that handles the kernel's answer
 * handles these.
 *
 * On mrn_mm_self(), this process's own memory, insert the notifier with mrn_range_notifier_insert (<mrn/source.h>). The
 * answer is what Linux tells a process about itself:
 *  - VALID is exact. Swapped pages are not VALID. Write-only memory counts as readable, as for the processor; the
 *    kernel's function would report ERROR.
 *  - The number is the physical frame for a process with CAP_SYS_ADMIN, and 0 for others. It may change by reclaim,
 *    migration and KSM without an invalidation, since user space is not told: to use it, pin the page first.
 *  - WRITE on request means that the kernel made the page writable (requests need MADV_POPULATE_*, Linux 5.14; before,
 *    -EOPNOTSUPP when the page is not present or WRITE is requested). A fork shares private pages again, and is not
 *    announced.
 *  - WRITE in a snapshot is set for a writable mapping that is shared, or whose private page no other process maps. A
 *    write may still copy such a page: one that KSM has merged, or that a past fork shared and a pipe or I/O in flight
 *    still holds. A page that a userfaultfd or a file system has write-protected for tracking counts as writable.
 *  - The order is that of a transparent huge page (9 on most machines) where PAGEMAP_SCAN (Linux 6.7) reports it, and
 *    that of hugetlb pages where PROCMAP_QUERY (Linux 6.11) does.
 *  - Guard pages (MADV_GUARD_INSTALL) are ERROR from Linux 6.15 on, and a device's mapping without pages from 6.7 on;
 *    before, a snapshot reports no page. Requesting them is always -EFAULT.
 *  - A process that has changed its user may not read its own /proc files: -EACCES, unless it has set PR_SET_DUMPABLE.
 *  - dev_private_owner is ignored.
 * The kernel treats fault requests as accesses: they may block on a userfaultfd handler other than mrn's.
 */
int hmm_range_fault(struct hmm_range *range);

/*
 * The same in a loop: begins a read, faults, and begins again on a collision, until it
 * succeeds or the deadline (absolute, CLOCK_MONOTONIC; NULL for none) has passed. Sets notifier_seq: check it under the
 * driver lock as always.
 *
 * Returns 0, or MRN_USE_ONCE as mrn_range_read_begin_until does.
 * Errors: those of hmm_range_fault but -EBUSY; those of mrn_range_read_begin_until, -ETIMEDOUT among them; -EINVAL for
 * a pfn_flags_mask, since the first answer overwrites requests in the entries.
 */
int mrn_hmm_range_fault_until(struct hmm_range *range, const struct timespec *deadline);

#ifdef __cplusplus
}
#endif

#endif
