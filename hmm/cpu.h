/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The CPU's side of a region: the kernel's mapping, and its page table entries. Functions act on pages [i, i + n),
 * which the caller has locked; they skip HOLE and LOST pages, and never touch lost addresses.
 */
#ifndef MRN_HMM_CPU_H
#define MRN_HMM_CPU_H

#include "hmm/space.h"

/*
 * A thread that unmaps our memory continues as soon as a handler has read the event; from then on the address may be
 * reused. Between enter and leave no event is read: what is not LOST stays ours.
 */
mrn_sigmask mrn_hmm_cpu_enter(struct mrn_hmm *hmm);
void mrn_hmm_cpu_leave(struct mrn_hmm *hmm, mrn_sigmask mask);

/* Reserves addresses, aligned to a power of two. Returns 0 if there are none. */
uintptr_t mrn_hmm_cpu_reserve(size_t length, size_t align);
void mrn_hmm_cpu_release(uintptr_t addr, size_t length);
/* Releases the addresses of unmapped pages. Call between enter and leave. */
void mrn_hmm_cpu_give_back(struct mrn_hmm_region *r, size_t i, size_t n);

/*
 * Maps holes to the frames page[].home, with empty entries. 0, or -errno with nothing changed: -ENOTCONN for lost
 * pages.
 */
int mrn_hmm_cpu_map(struct mrn_hmm_region *r, size_t i, size_t n, int prot);
/*
 * hide first makes the pages inaccessible: it may fail, with nothing changed (-ENOMEM: the kernel's limit of mappings).
 * Then unmap turns them into holes, which stay reserved.
 */
int mrn_hmm_cpu_hide(struct mrn_hmm_region *r, size_t i, size_t n);
void mrn_hmm_cpu_unmap(struct mrn_hmm_region *r, size_t i, size_t n);
/* Undoes a map, while the pages' state is still HOLE. */
void mrn_hmm_cpu_map_undo(struct mrn_hmm_region *r, size_t i, size_t n);

/* 0, or -ENOMEM with nothing changed: a lost page, or the kernel's limit of mappings. */
int mrn_hmm_cpu_protect(struct mrn_hmm_region *r, size_t i, size_t n, int prot);

/* Empties entries: from now on an access faults. */
void mrn_hmm_cpu_zap(struct mrn_hmm_region *r, size_t i, size_t n);
/* Write-protects entries: from now on a write faults. */
void mrn_hmm_cpu_write_protect(struct mrn_hmm_region *r, size_t i, size_t n);

/*
 * Maps the frames from `frame` on, which hold the pages' contents, in place of the old ones, whose entries are empty.
 * Meanwhile the pages are not watched: other threads may touch them, and write to the new frames. The page tables do
 * not show this afterwards: the program's madvise (MADV_DONTNEED, MADV_PAGEOUT) or the kernel's reclaim may have
 * removed the writer's entry again. On return the pages are watched and their entries empty, so the frames hold
 * everything that was written, and do not change until the pages are unlocked: the caller compares.
 *
 * All pages must have one protection. Returns how many pages, from i on, map their new frames now; or -errno with
 * nothing changed: -EFAULT for lost pages, -ENOMEM for the kernel's limit of mappings. A page that another thread
 * unmapped meanwhile, for which there is no event, is LOST.
 */
long mrn_hmm_cpu_rebind(struct mrn_hmm_region *r, size_t i, size_t n, uint64_t frame);

/* Installs the entries of pages that have frames, and wakes threads that wait for them. 0 or -errno. */
int mrn_hmm_cpu_allow(struct mrn_hmm_region *r, size_t i, size_t n, bool write);
/* Makes waiting threads fault again. */
void mrn_hmm_cpu_wake(struct mrn_hmm *hmm, uintptr_t addr, size_t length);

#endif
