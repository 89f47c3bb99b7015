/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's mapping of a region. Functions act on pages [i, i + n), which the caller has locked; they skip HOLE and
 * LOST pages, and never touch lost addresses.
 */
#ifndef MRN_HMM_CPU_MAP_H
#define MRN_HMM_CPU_MAP_H

#include "hmm/region.h"

/* Reserves addresses, aligned to a power of two. Returns 0 if there are none. */
uintptr_t mrn_hmm_cpu_reserve(size_t length, size_t align);
void mrn_hmm_cpu_release(uintptr_t addr, size_t length);
/*
 * Releases the addresses of an unmapped region, except lost ones. From here on all of them count as lost: a thread that
 * has waited for these pages must not touch them.
 */
void mrn_hmm_cpu_give_back(struct mrn_hmm_region *r);

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

#endif
