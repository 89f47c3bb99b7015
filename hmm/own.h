/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_HMM_OWN_H
#define MRN_HMM_OWN_H

#include <mrn/hmm.h>

/*
 * hmm_range_fault for mrn_mm_self(). The range has been validated: aligned, not empty, within the
 * notifier's. Needs about 8 KiB of stack; allocates nothing.
 *
 * Errors: those of hmm_range_fault, and of opening files in /proc.
 */
int mrn_hmm_own_fault(struct hmm_range *range);

#endif
