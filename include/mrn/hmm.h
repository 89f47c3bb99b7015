/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Managed memory, and hmm_range_fault.
 *
 * A *managed address space* is memory that a device and the CPU share page by page. The CPU uses it
 * with plain loads and stores. A device reaches it by *frame*: the number of a page of system memory,
 * whatever addresses it is mapped at; mrn_hmm_frame is where the device's DMA happens. Pages can move
 * to a device's own memory and come back when the CPU touches them; be lent to a device exclusively;
 * be protected, discarded, moved, written to a backing file. Every change is an invalidation on the
 * space's mm (mrn_hmm_mm), bracketed, so consumers are those of <mrn/mmu_notifier.h>:
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
 * hmm_range_fault also works on this process's own memory; see there. Managed memory announces all that happens to it: there is
 * nothing to arm.
 *
 * Conventions. Functions return 0 or -errno, unless they say otherwise. addr and length are bytes,
 * multiples of the OS page, within one region; -EINVAL when they are not. -ESTALE: in a forked
 * child, for its parent's space; the child has neither the pages nor the addresses. A function that
 * announces an invalidation blocks where its callbacks block, so it must not be called with a
 * driver lock held, and not from a callback (-EDEADLK). None may be called from a signal handler,
 * but for mrn_hmm_frame. No function here is a cancellation point.
 *
 * Where a driver lock is held, and in a signal handler that may interrupt that, the CPU must not touch managed
 * memory: its fault may wait for a callback that wants the lock. A callback may touch pages outside of the range that it
 * is told of, and wait for a thread that does, if neither holds a lock that another callback takes: page faults are
 * served whatever callbacks and devices are at work, and so are the callbacks that they need.
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
	/* Frames of system memory, OS pages: what can be in use at once. 0 means 1 << 20. */
	uint64_t frames;
	/*
	 * Threads that serve the CPU's page faults; 0 means 1. Callbacks, functions of devices and reads from the
	 * backing file that a fault needs run in other threads, of which there is always one more than are at work.
	 */
	unsigned int handlers;
	/*
	 * Where mrn_hmm_reclaim and mrn_hmm_writeback write pages: a file that is open for reading and
	 * writing, seekable. The number is the caller's to close, best after mrn_hmm_destroy; the space uses the
	 * file until then, whatever becomes of the number. Its contents are lost. -1: none; 0 is no file, so
	 * that a zeroed structure has none.
	 */
	int backing_fd;
	/*
	 * For debugging a device: a frame that no device may use any longer is filled with
	 * MRN_HMM_POISON, and kept from being used again until as many more have been. Then it is
	 * looked at: a word that is no longer the poison was written by a device that should not have,
	 * and violation, when set, is called once for the frame: from any thread, with internal locks
	 * held; it must not call back into the space. 0: none.
	 */
	uint64_t quarantine;
	void (*violation)(void *arg, uint64_t frame, size_t offset, uint64_t found);
	void *violation_arg;
	char *why;	 /* where to put one sentence when creation fails; or NULL */
	size_t why_size; /* bytes */
};

/* What a frame in quarantine holds, in every 64-bit word: the frame number is in the low 32 bits. */
#define MRN_HMM_POISON(frame)	 (UINT64_C(0xdeadf4a3) << 32 | (uint32_t)(frame))
#define MRN_HMM_IS_POISON(value) ((value) >> 32 == UINT64_C(0xdeadf4a3))

/*
 * Makes an address space without regions. opts may be NULL. *out is the caller's until
 * mrn_hmm_destroy.
 *
 * Errors: -EINVAL, also for more than 1 << 32 frames, more than 64 handlers, or a quarantine that
 * is not less than the frames; -EBADF for the backing file; -ENOMEM; -EPERM when this process may not have a
 * userfaultfd, or a thread with a descriptor table of its own (close_range or unshare);
 * -ENOSYS and -EOPNOTSUPP when the kernel lacks it, or minor faults on shared memory (Linux 5.19);
 * -EMFILE; -EFBIG for more frames than RLIMIT_FSIZE lets a file have; -EAGAIN when no thread can be made. opts->why then says what is missing and how to allow
 * it.
 */
int mrn_hmm_create(const struct mrn_hmm_opts *opts, struct mrn_hmm **out);

/*
 * Ends the space: as mrn_mm_destroy, then frees all regions. Device memory that holds pages is
 * given back by its ops->free. Pins that are still held are forgotten. The caller sees to it that
 * no thread is in a function of this space or touches its memory.
 *
 * Errors: -EINVAL; -EDEADLK; -ESTALE: the child's copy is freed.
 */
int mrn_hmm_destroy(struct mrn_hmm *hmm);

/* The mm on which this space's changes are announced; valid until mrn_hmm_destroy. Does not block. */
struct mrn_mm *mrn_hmm_mm(struct mrn_hmm *hmm);

/* May fewer privileges make a difference? A sentence about what does not work, or "". Static. */
const char *mrn_hmm_why(const struct mrn_hmm *hmm);

struct mrn_hmm_stats {
	uint64_t cpu_faults;	/* page faults of the CPU that were served */
	uint64_t device_faults; /* pages that hmm_range_fault or mrn_hmm_pin brought in */
	uint64_t swapped_out, swapped_in;
	uint64_t to_device, to_ram; /* pages migrated */
	uint64_t frames_used, frames_quarantined;
	uint64_t violations;
	uint64_t unserved; /* CPU faults that got a SIGBUS instead */
};

/* Figures so far; each is right, all of them together may be of slightly different times. */
int mrn_hmm_get_stats(struct mrn_hmm *hmm, struct mrn_hmm_stats *stats);

/* ---------------------------------------------------------------------------------------- regions */

/*
 * Makes a region: length bytes of fresh memory that reads as zeros, at an address of the library's
 * choice, with the protection prot (PROT_READ, PROT_WRITE, or PROT_NONE). order: the region is
 * aligned to, and where frames are to be had filled in, blocks of 2^order pages (0 .. 9). It is not
 * inherited by fork. The address is the caller's until mrn_hmm_free.
 *
 * When a page fault of the CPU finds no frame, or what was there cannot be read from the backing
 * file or copied from a device, the thread gets a SIGBUS with that address, as from a file that has
 * been truncated. When the program has a handler that returns, the touch is tried again; a system
 * call that touches it goes on trying in the kernel.
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
 * Takes the pages of a part of a region away, as munmap does (MMU_NOTIFY_UNMAP): it is a hole, which
 * stays reserved, and a touch is a SIGSEGV. map fills holes with fresh memory; -EEXIST, with nothing
 * changed, when some page of the range is no hole.
 *
 * A real munmap of a part of a region by somebody who does not know better is noticed: the pages are
 * lost, and an invalidation with MRN_RANGE_AFTER says so, some time after that munmap has returned.
 * Such addresses cannot be mapped again (-ENOTCONN) until the region is freed.
 *
 * Errors: -EINVAL; -ENOMEM (the kernel's limit of mappings, vm.max_map_count; nothing has changed);
 * -EDEADLK; -ESTALE.
 */
int mrn_hmm_unmap(struct mrn_hmm *hmm, void *addr, size_t length);
int mrn_hmm_map(struct mrn_hmm *hmm, void *addr, size_t length, int prot);

/*
 * Moves pages, as mremap(MREMAP_FIXED) does (MMU_NOTIFY_UNMAP for both ranges, one after the other):
 * what was at `to` is discarded, what was at `from` is there now, and a hole is left behind. The two
 * ranges may be in different regions, and must not overlap. A touch of `to` while it goes on may be a
 * SIGSEGV, as a touch of `from` is afterwards.
 *
 * Errors, with nothing changed: -EINVAL; -EFAULT for a hole at `from`; -ENOTCONN for lost addresses at
 * `to`; -EDEADLK; -ESTALE. -ENOMEM (the kernel's limit of mappings): what was at `to` may be gone, some
 * of the pages may have been moved, and the others are where they were.
 */
int mrn_hmm_move(struct mrn_hmm *hmm, void *from, void *to, size_t length);

/*
 * Sets the protection, as mprotect (MMU_NOTIFY_PROTECTION_VMA).
 * Errors: -EINVAL; -ENOMEM for a hole, or the kernel's limit of mappings; -EDEADLK; -ESTALE.
 */
int mrn_hmm_protect(struct mrn_hmm *hmm, void *addr, size_t length, int prot);

/*
 * Discards contents, as MADV_DONTNEED does on private memory (MMU_NOTIFY_CLEAR): the pages read as
 * zeros from then on. reap does it without waiting, as the kernel's OOM reaper: -EAGAIN, with nothing
 * changed, when a callback refuses or a page is being changed by somebody else.
 *
 * Errors: -EINVAL; -EDEADLK; -ESTALE. Holes are passed over.
 */
int mrn_hmm_discard(struct mrn_hmm *hmm, void *addr, size_t length);
int mrn_hmm_reap(struct mrn_hmm *hmm, void *addr, size_t length);

/*
 * Gives pages other frames with the same contents, as compaction does (MMU_NOTIFY_CLEAR). Pinned
 * pages, and pages that are not in system memory, keep what they have. Returns how many moved.
 *
 * Errors: -EINVAL; -ENOMEM without frames or mappings: what had moved has; -EDEADLK; -ESTALE.
 */
long mrn_hmm_compact(struct mrn_hmm *hmm, void *addr, size_t length);

/* ----------------------------------------------------------------------------------- backing file */

/*
 * Writes pages to the backing file and takes their frames away (MMU_NOTIFY_CLEAR); the next touch
 * reads them back. A page that has a copy there and is not dirty is not written again: it is dirty
 * when the CPU has written to it, hmm_range_fault or mrn_hmm_pin have been asked to write, or
 * somebody has said mrn_hmm_set_dirty. Pinned pages are passed over. Returns how many pages went.
 *
 * Errors: -EINVAL; -EBADF without a backing file; what writing it says (-ENOSPC, -EIO, ...): the page
 * that could not be written and those behind it are in memory as before; -EDEADLK; -ESTALE.
 */
long mrn_hmm_reclaim(struct mrn_hmm *hmm, void *addr, size_t length);

/*
 * Writes dirty pages to the backing file and keeps them, clean and write-protected
 * (MMU_NOTIFY_PROTECTION_PAGE); pinned ones too. Returns how many were written. Errors: as reclaim.
 */
long mrn_hmm_writeback(struct mrn_hmm *hmm, void *addr, size_t length);

/*
 * Soft-dirty: which pages have been written to since it was last asked, one byte for each, 1 or 0; by the CPU, and by
 * devices as far as they say so (mrn_hmm_set_dirty, mrn_hmm_unpin), in the callback of this invalidation at the latest.
 * Pages are dirty from the start, when they come back from a device, and while they are there or lent. Before Linux
 * 6.6, a page that is read after it was away counts as written.
 *
 * take tells and forgets in one step, and write-protects the pages to learn it anew (MMU_NOTIFY_SOFT_DIRTY): each
 * write is in this answer or in the next, whoever writes meanwhile. So a copy of a region is kept up to date by
 * take, and copying afterwards what it has named. clear begins anew without an answer. soft_dirty only looks: to look and
 * to clear then loses what is written in between.
 *
 * Errors: -EINVAL; -EDEADLK; -ESTALE. soft_dirty does not block.
 */
int mrn_hmm_take_soft_dirty(struct mrn_hmm *hmm, void *addr, size_t length, uint8_t *dirty);
int mrn_hmm_clear_soft_dirty(struct mrn_hmm *hmm, void *addr, size_t length);
int mrn_hmm_soft_dirty(struct mrn_hmm *hmm, void *addr, size_t length, uint8_t *dirty);

/* ----------------------------------------------------------------------------------------- frames */

/*
 * The memory of a frame, one OS page: where a device reads and writes. Valid until mrn_hmm_destroy,
 * and immune to what happens to the addresses that map it: whether the frame is still whose it was is
 * the device's business, by the protocol. NULL for a number that is no frame. Does not block; may be
 * called from anywhere.
 */
void *mrn_hmm_frame(struct mrn_hmm *hmm, uint64_t frame);

/*
 * A device has written to the frame, for mrn_hmm_reclaim and for soft-dirty: what set_page_dirty is in the kernel. Call
 * before the shadow is gone. Does not block; may be called from callbacks.
 */
void mrn_hmm_set_dirty(struct mrn_hmm *hmm, uint64_t frame);

/*
 * Pins pages, as pin_user_pages: brings each to system memory and writes its frame to frames[]. A
 * pinned frame is neither reclaimed nor moved to another; when its page is unmapped or discarded it
 * lives on, nobody's, until unpinned. A pin alone says nothing about coherence: check with the retry.
 * write: for writing, too.
 *
 * Returns length in pages. Errors, with nothing pinned: -EINVAL; -EFAULT for a hole or a page that
 * may not be accessed so; -ENOMEM; -EIO and the like from the backing file; -ESTALE. Announces an
 * invalidation where a page has to come back from a device or from who it was lent to.
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
 * A device's own memory, numbered by the device in pages of its own. All functions may block and
 * allocate; they run inside an invalidation of the pages that they copy, which nobody else can reach
 * then, and must not call a function that announces one, nor leave by longjmp or an exception. A request to
 * cancel the thread waits until the call that they are in has returned.
 */
struct mrn_hmm_device_ops {
	/* Takes up to n pages of device memory; returns how many are in pages[], or -errno. */
	long (*alloc)(struct mrn_hmm_device *dev, size_t n, uint64_t *pages);
	/* Gives pages back, whose contents are of no more use. */
	void (*free)(struct mrn_hmm_device *dev, size_t n, const uint64_t *pages);
	/* Copies n pages, between the device's and frames of system memory. 0 or -errno. */
	int (*copy_to_device)(struct mrn_hmm_device *dev, size_t n, const uint64_t *pages,
			      void *const *frames);
	int (*copy_to_ram)(struct mrn_hmm_device *dev, size_t n, void *const *frames,
			   const uint64_t *pages);
};

/* The caller owns the memory from add to remove, zeroes it and sets ops and pages. */
struct mrn_hmm_device {
	const struct mrn_hmm_device_ops *ops;
	uint64_t pages; /* its pages are numbered below this */
	/* private */
	struct mrn_hmm *hmm;
	uint64_t first;
	struct mrn_hmm_device *next;
};

/*
 * Adds and removes a device with memory. Removing migrates everything back first; the caller sees to it
 * that no mrn_hmm_migrate_to_device to it, and no mrn_hmm_move, is in progress or begins.
 *
 * Errors of add: -EINVAL; -EBUSY when added already; -ENOSPC when no numbers are left; -ESTALE. Of
 * remove: -ENOENT; -EINVAL; those of mrn_hmm_migrate_to_ram: then the device remains.
 */
int mrn_hmm_device_add(struct mrn_hmm *hmm, struct mrn_hmm_device *dev);
int mrn_hmm_device_remove(struct mrn_hmm *hmm, struct mrn_hmm_device *dev);

/*
 * Moves pages to the device's memory (MMU_NOTIFY_MIGRATE, owner dev), from system memory or the
 * backing file; a page that nobody has touched goes as zeros. A touch of the CPU, or a request of
 * another device, brings a page back (MMU_NOTIFY_MIGRATE, owner dev). Pages that are there already
 * stay and count; passed over are holes, pages that may not be read, that are pinned, or that are
 * on another device.
 *
 * A consumer that skips MIGRATE of its own owner must do so only for the call that it is in itself: a page
 * that comes back, at a touch of the CPU, is announced with the same owner.
 *
 * Returns how many of the range's pages are on the device now. pfns, when not NULL, gets one entry
 * a page: for one on the device that may be read, what hmm_range_fault says for that owner, and 0
 * for any other.
 *
 * Errors: -EINVAL; -ENOENT when dev was not added; where no page of the range is there: what alloc and
 * copy_to_device return, -ENOMEM, what reading the backing file says; -EDEADLK; -ESTALE.
 */
long mrn_hmm_migrate_to_device(struct mrn_hmm *hmm, struct mrn_hmm_device *dev, void *addr,
			       size_t length, unsigned long *pfns);

/*
 * Moves what is on any device back (MMU_NOTIFY_MIGRATE; owner: the device that had it). Returns how
 * many pages came. Errors: -EINVAL; -ENOMEM; those of copy_to_ram; -EDEADLK; -ESTALE.
 */
long mrn_hmm_migrate_to_ram(struct mrn_hmm *hmm, void *addr, size_t length);

/* Is pfn (flags are ignored) a page of dev's memory? Its number there is put into *page. */
bool mrn_hmm_device_page(const struct mrn_hmm_device *dev, unsigned long pfn, uint64_t *page);

/*
 * Lends pages to owner alone (MMU_NOTIFY_EXCLUSIVE with that owner): the CPU's translations go, and a
 * touch of the CPU, or another consumer's fault, takes the page back, announcing MMU_NOTIFY_EXCLUSIVE
 * without an owner. For atomic operations of a device. pfns gets one entry a page: VALID and
 * WRITE, and what hmm_range_fault says of it. Read begin before, check for a retry after, as always.
 *
 * Returns how many pages are lent. Errors, with none lent: -EINVAL, also without owner or pfns; -EFAULT
 * for a hole or a page that may not be read, -EPERM for one that may not be written; what bringing a
 * page in says; -ENOMEM; -EDEADLK; -ESTALE.
 */
long mrn_hmm_make_exclusive(struct mrn_hmm *hmm, void *addr, size_t length, void *owner,
			    unsigned long *pfns);

/* --------------------------------------------------------------------------------- hmm_range_fault */

/*
 * An entry of hmm_pfns. Out: flags, the order of the mapping, and the page's number: a frame
 * (mrn_hmm_frame) or a page of a device's memory (mrn_hmm_device_page). No flag at all: nothing is
 * there, and a fault would bring it. In: what is asked for.
 */
enum hmm_pfn_flags {
	/* Out: there is a page, and it may be read. */
	HMM_PFN_VALID = 1ul << 63,
	/* Out: and written. */
	HMM_PFN_WRITE = 1ul << 62,
	/* Out: there is none, and no fault would bring one: a hole, or memory that may not be read. */
	HMM_PFN_ERROR = 1ul << 61,
	/* Out: the mapping is an aligned block of 2^order pages, contiguous in memory. 5 bits. */
	HMM_PFN_ORDER_SHIFT = 56,
	/* In: make it VALID; and, together with it, make it WRITE. WRITE alone asks for nothing. */
	HMM_PFN_REQ_FAULT = HMM_PFN_VALID,
	HMM_PFN_REQ_WRITE = HMM_PFN_WRITE,
	HMM_PFN_FLAGS = 0xfful << HMM_PFN_ORDER_SHIFT,
};

static inline uint64_t hmm_pfn_to_frame(unsigned long pfn)
{
	return pfn & ~(unsigned long)HMM_PFN_FLAGS;
}

static inline unsigned int hmm_pfn_to_map_order(unsigned long pfn)
{
	return (pfn >> HMM_PFN_ORDER_SHIFT) & 0x1f;
}

struct hmm_range {
	struct mmu_range_notifier *notifier; /* covers the range; its mm says whose memory it is */
	uint64_t notifier_seq;		     /* of mmu_range_read_begin */
	uintptr_t start, end;		     /* bytes, OS-page aligned */
	unsigned long *hmm_pfns;	     /* (end - start) / page size entries, the caller's */
	/*
	 * What is asked for a page is (hmm_pfns[i] & pfn_flags_mask) | default_flags: no request is a
	 * snapshot of what is there.
	 */
	unsigned long default_flags, pfn_flags_mask;
	void *dev_private_owner; /* pages on this device are reported, those on others brought back */
};

/*
 * Reads the translations of a range, and brings in what is missing where that is asked for. Nothing is
 * held when it returns: the entries are speculation until mmu_range_read_retry, under the driver lock.
 *
 * Errors: -EBUSY on a collision with an invalidation, and, on this process's own memory, when another thread has
 * closed or exchanged the descriptors that the call has opened, meanwhile: begin again (inside an
 * invalidation that this thread has started, that is for ever; mrn_hmm_range_fault_until says
 * -EDEADLK); -EPERM when writing is asked for and not allowed; -EFAULT when what is asked for
 * cannot be had: a hole, memory that may not be read, past the end of a file; -EINVAL for a range
 * that is empty, not aligned, outside the notifier's, or of an mm that is neither managed nor
 * mrn_mm_self(); -ENOMEM without frames, and for a page of this process that is taken away as fast
 * as it comes; what reading the backing file, a device's copy_to_ram, or opening files in /proc
 * says; -EDEADLK from a callback; -ESTALE. After an error the entries are of no use. Blocks for a
 * page that is being changed. Not with a driver lock held.
 *
 * On managed memory the answer is exact.
 *
 * On mrn_mm_self(), the memory of this process, the consumer calls mrn_source_arm after each read_begin and before this
 * (<mrn/source.h>), and the answer is what Linux tells a process about itself:
 *  - VALID is exact. Swapped pages are not VALID. Memory that may only be written to can be read, too,
 *    as by the processor; the kernel's function would say ERROR.
 *  - The number is the physical frame for a process with CAP_SYS_ADMIN, and 0 for others. It may change
 *    by reclaim, migration and KSM without an invalidation, which user space is not told of: to use it,
 *    pin the page first.
 *  - WRITE that was asked for has been made so by the kernel (requests need MADV_POPULATE_*, Linux 5.14;
 *    -EOPNOTSUPP before, when the page is not there, or WRITE is asked for). A fork shares private pages
 *    again, and is not announced.
 *  - WRITE in a snapshot is set for a writable mapping that is shared, or whose page is private memory
 *    that nobody else maps. A write may copy such a page all the same: one that KSM has merged, or that
 *    a fork has shared in the past and a pipe or I/O under way still holds. A page that is
 *    write-protected for tracking, by a userfaultfd or a file system, counts as writable.
 *  - The order is 9, or what the machine has, for a transparent huge page, where PAGEMAP_SCAN (Linux 6.7)
 *    tells it; for hugetlb, its own, where PROCMAP_QUERY (Linux 6.11) does.
 *  - Guard pages (MADV_GUARD_INSTALL) are ERROR from Linux 6.15 on, and a device's mapping without pages
 *    from 6.7 on; before, a snapshot says that nothing is there. A request for them is -EFAULT always.
 *  - A process that has changed its user may not look into itself: -EACCES, unless it has asked for it
 *    (PR_SET_DUMPABLE).
 *  - dev_private_owner is of no use.
 * Fault requests are seen by the kernel as accesses: they may block for a userfaultfd of somebody else.
 */
int hmm_range_fault(struct hmm_range *range);

/*
 * The same in a loop, for memory that needs no arming: begins a read, faults, and begins again on a
 * collision, until it comes out or the deadline, an absolute time of CLOCK_MONOTONIC, or NULL for
 * none, has passed. Sets notifier_seq, which is to be checked under the driver lock as always.
 *
 * Errors: those of hmm_range_fault but -EBUSY; those of mrn_range_read_begin_until, -ETIMEDOUT among
 * them; -EINVAL for a pfn_flags_mask, as requests in the entries do not outlive the first answer.
 */
int mrn_hmm_range_fault_until(struct hmm_range *range, const struct timespec *deadline);

#ifdef __cplusplus
}
#endif

#endif
