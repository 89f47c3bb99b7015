/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The CPU's side of a region: the kernel's mapping, and its page table entries. All on pages that the
 * caller has locked, in pages [i, i + n); HOLE and LOST pages are passed over. Nothing here touches
 * addresses that have been lost.
 */
#ifndef MRN_HMM_CPU_H
#define MRN_HMM_CPU_H

#include "hmm/hmm.h"

/*
 * Who unmaps our memory goes on as soon as a handler has read the event, and from then on the address
 * may be anybody's. Between these two no event is read: what is not LOST stays ours.
 */
mrn_sigmask mrn_hmm_cpu_enter(struct mrn_hmm *hmm);
void mrn_hmm_cpu_leave(struct mrn_hmm *hmm, mrn_sigmask mask);

/* Reserves addresses, aligned to a power of two. 0 for none. */
uintptr_t mrn_hmm_cpu_reserve(size_t length, size_t align);
void mrn_hmm_cpu_release(uintptr_t addr, size_t length);
/* The addresses of pages that have been unmapped, between enter and leave. */
void mrn_hmm_cpu_give_back(struct mrn_hmm_region *r, size_t i, size_t n);

/*
 * Maps holes, with empty entries; page[].home says what they show. 0, or -errno with nothing changed:
 * -ENOTCONN for lost ones.
 */
int mrn_hmm_cpu_map(struct mrn_hmm_region *r, size_t i, size_t n, int prot);
/*
 * First nobody may touch the pages: this may fail, with nothing changed (-ENOMEM: the kernel's limit of
 * mappings). Then unmap makes holes of them, which stay reserved.
 */
int mrn_hmm_cpu_hide(struct mrn_hmm_region *r, size_t i, size_t n);
void mrn_hmm_cpu_unmap(struct mrn_hmm_region *r, size_t i, size_t n);
/* Takes a map back whose pages are holes still. */
void mrn_hmm_cpu_map_undo(struct mrn_hmm_region *r, size_t i, size_t n);

/* 0, or -ENOMEM with nothing changed: a lost page, or the kernel's limit of mappings. */
int mrn_hmm_cpu_protect(struct mrn_hmm_region *r, size_t i, size_t n, int prot);

/* Empties entries: a touch is a fault from now on. */
void mrn_hmm_cpu_zap(struct mrn_hmm_region *r, size_t i, size_t n);
/* No write without a fault from now on. */
void mrn_hmm_cpu_write_protect(struct mrn_hmm_region *r, size_t i, size_t n);

/*
 * Shows the frames from `frame` on, which hold the pages' contents, instead of the ones so far, whose entries are
 * empty. While it goes on the pages are not watched: others may touch them, and write to the new frames. Nothing in
 * the page tables tells afterwards: whoever has written may have had his entry taken away again, by advice of the
 * program's (MADV_DONTNEED, MADV_PAGEOUT), by the kernel's reclaim. On return they are watched and their entries
 * empty, so what the frames hold then is all that has been written, and it stays so until the pages are unlocked:
 * the caller compares.
 *
 * How many pages, from i on, show their frames now; or -errno with nothing changed: -EFAULT for lost ones, -ENOMEM
 * for the kernel's limit of mappings. All of one protection. A page that somebody has unmapped meanwhile, of which
 * no event tells, is LOST.
 */
long mrn_hmm_cpu_rebind(struct mrn_hmm_region *r, size_t i, size_t n, uint64_t frame);

/* Installs the entry of a page that has a frame, and wakes who waits for it. 0 or -errno. */
int mrn_hmm_cpu_allow(struct mrn_hmm_region *r, size_t i, size_t n, bool write);
/* Has who waits try again. */
void mrn_hmm_cpu_wake(struct mrn_hmm *hmm, uintptr_t addr, size_t length);

#endif
