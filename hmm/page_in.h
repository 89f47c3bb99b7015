/* SPDX-License-Identifier: BSD-3-Clause */
/* How a page gets a frame, and how it loses its frame, slot or device memory. */
#ifndef MRN_HMM_PAGE_IN_H
#define MRN_HMM_PAGE_IN_H

#include "hmm/region.h"

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
/* In a region with an order: brings in the whole block around page i, if possible. */
void mrn_hmm_fill_block(struct mrn_hmm_region *r, size_t i);

/* ---- fault_in.c */

/*
 * On pages that the caller has not locked, outside any invalidation of its own: makes them RAM, and WRITABLE if write
 * is set, with the announcements that this needs. They are locked on success. 0, -EFAULT, -EPERM, or errors of page_in
 * and take_back.
 */
int mrn_hmm_fault_in(struct mrn_hmm_region *r, size_t i, size_t n, bool write);

#endif
