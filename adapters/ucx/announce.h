/* SPDX-License-Identifier: BSD-3-Clause */
/* What UCX is told of, and how. */
#ifndef MRN_UCX_ANNOUNCE_H
#define MRN_UCX_ANNOUNCE_H

#include <mrn/mmu_notifier.h>

extern const struct mmu_notifier_ops mrn_ucx_notifier_ops;

/* How many ranges UCX was told of before their change, and how many of these late: see announce.c. */
uint64_t mrn_ucx_announced(void);
uint64_t mrn_ucx_deferred(void);
void mrn_ucx_count_anew(void);

#endif
