/* SPDX-License-Identifier: BSD-3-Clause */
/* The devices of a space, which have memory of their own. Their pages are numbered after the frames. */
#ifndef MRN_HMM_DEVICE_H
#define MRN_HMM_DEVICE_H

#include <mrn/hmm.h>

/* The device that owns pfn; or NULL. */
struct mrn_hmm_device *mrn_hmm_device_of(struct mrn_hmm *hmm, uint64_t pfn);
/* Takes dev out. The caller has emptied it. */
void mrn_hmm_device_forget(struct mrn_hmm *hmm, struct mrn_hmm_device *dev);

#endif
