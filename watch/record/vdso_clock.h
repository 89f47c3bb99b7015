/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The time, by the vDSO: no lock, no errno, no system call. libc knows where the vDSO was at the start, and goes on
 * calling there when the program has moved or unmapped it, as one that restores a checkpoint does. From then on the
 * time costs a system call.
 */
#ifndef MRN_WATCH_VDSO_CLOCK_H
#define MRN_WATCH_VDSO_CLOCK_H

#include <mrn/mmu_notifier.h>
#include <stdint.h>

/* CLOCK_MONOTONIC; 0 if neither works. */
uint64_t watch_now_ns(void);
void watch_clock_start(void);
/* Call before a change: notes whether it takes the vDSO. */
void watch_clock_look(const struct mmu_notifier_range *range);

#endif
