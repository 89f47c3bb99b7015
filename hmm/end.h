/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_HMM_END_H
#define MRN_HMM_END_H

#include <mrn/hmm.h>

/*
 * Ends the space's mm and keeps the space, as when a process exits while devices still have its frames: announces
 * MMU_NOTIFY_RELEASE, calls what list notifiers have for it, and refuses new notifiers. Calls of hmm_range_fault,
 * mrn_hmm_pin, mrn_hmm_make_exclusive and mrn_hmm_migrate_to_device that begin afterwards return -ESRCH; whoever owns the
 * space may still read and discard its memory. For the lab. Errors: -ESRCH, the second time; those of mrn_mm_destroy.
 */
int mrn_hmm_end_mm(struct mrn_hmm *hmm);

#endif
