/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The CPU's page table entries. Functions act on pages [i, i + n), which the caller has locked; they skip HOLE and LOST
 * pages, and never touch lost addresses.
 */
#ifndef MRN_HMM_CPU_ENTRY_H
#define MRN_HMM_CPU_ENTRY_H

#include "hmm/region.h"

/* Empties entries: from now on an access faults. */
void mrn_hmm_cpu_zap(struct mrn_hmm_region *r, size_t i, size_t n);
/* Write-protects entries: from now on a write faults. */
void mrn_hmm_cpu_write_protect(struct mrn_hmm_region *r, size_t i, size_t n);

/* Installs the entries of pages that have frames, and wakes threads that wait for them. 0 or -errno. */
int mrn_hmm_cpu_allow(struct mrn_hmm_region *r, size_t i, size_t n, bool write);
/* Makes waiting threads fault again. */
void mrn_hmm_cpu_wake(struct mrn_hmm *hmm, uintptr_t addr, size_t length);

/* For n pages at addr, which are ours (ours.h): empties their entries. 0 or -errno. */
long mrn_hmm_cpu_empty(struct mrn_hmm *hmm, uintptr_t addr, size_t n);
/* A request to the userfaultfd. 0 or -errno. */
long mrn_hmm_cpu_control(struct mrn_hmm *hmm, long what, void *arg);

#endif
