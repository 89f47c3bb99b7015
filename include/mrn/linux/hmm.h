/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hmm_range_fault for kernel drivers: <mrn/hmm.h>, in which struct hmm_range, hmm_range_fault,
 * hmm_pfn_to_map_order and the HMM_PFN flags have the kernel's names already, together with the
 * kernel's names of the protocol. Fields and flags are those of Linux 5.8 and later.
 *
 * As in the kernel: what is asked for a page is (hmm_pfns[i] & pfn_flags_mask) | default_flags; -EBUSY
 * on a collision, -EPERM, -EFAULT; nothing is held on return. With these differences:
 *
 *  - No mmap_lock: nothing has to be held around the call, and no driver lock may be.
 *  - It knows the mms of managed memory and mrn_mm_self(); any other is -EINVAL.
 *  - An entry's number is a frame of managed memory or a page of a device's memory, not a physical
 *    address: mrn_hmm_frame(hmm, mrn_hmm_pfn_to_frame(pfn)) is where its bytes are, and
 *    mrn_hmm_device_page tells whether it is a device's. On mrn_mm_self() see hmm_range_fault.
 *  - Where the flags lie in an entry is not promised; the kernel's moved, too.
 *
 * Left out, because it could not mean the same:
 *
 *  - hmm_pfn_to_page, hmm_pfn_to_phys: no struct page, and no physical address that would stay.
 *  - HMM_PFN_DMA_MAPPED, _P2PDMA, _P2PDMA_BUS, _COMPOUND and the hmm_dma_map functions: the device's
 *    view of a frame is the device's own business.
 *  - migrate_vma_setup and its like, make_device_exclusive, pin_user_pages: mrn_hmm_migrate_to_device,
 *    mrn_hmm_make_exclusive and mrn_hmm_pin do that work, in one call each.
 *  - hmm_mirror and hmm_range_register, which Linux 5.5 removed: see docs/porting.md.
 */
#ifndef MRN_LINUX_HMM_H
#define MRN_LINUX_HMM_H

#include <mrn/hmm.h>
#include <mrn/linux/mmu_notifier.h>

/* For how long a driver should go on trying, in milliseconds. */
#define HMM_RANGE_DEFAULT_TIMEOUT 1000

#endif
