/* SPDX-License-Identifier: BSD-3-Clause */
/* What tests/core/linux_driver.c would have in its uapi header, and its module parameters. */
#ifndef TESTS_LINUX_DRIVER_H
#define TESTS_LINUX_DRIVER_H

#include <mrn/linux/mmu_notifier.h>
#include <stdbool.h>
#include <stdint.h>

/* A device page table over one range of an mm. */
struct mirror;

struct mirror *mirror_create(struct mm_struct *mm, unsigned long start, unsigned long npages);
void mirror_destroy(struct mirror *m);
/* Maps pages. 0 or -errno; -EBUSY: collided too often. */
int mirror_fault(struct mirror *m, unsigned long addr, unsigned long npages, bool write);
/* The device reads and writes a word of a page: -EFAULT where the device has no entry for it. */
int mirror_read(struct mirror *m, unsigned long addr, uint64_t *value);
int mirror_write(struct mirror *m, unsigned long addr, uint64_t value);
unsigned long mirror_mapped(struct mirror *m, unsigned long addr, unsigned long npages);
unsigned long mirror_retries(struct mirror *m);
/* For tests: keeps the driver lock. */
void mirror_freeze(struct mirror *m);
void mirror_thaw(struct mirror *m);

/* An address translation cache of the whole mm, shared by all who open it. */
struct tlb;

struct tlb *tlb_open(struct mm_struct *mm);
void tlb_close(struct tlb *t);
/* 0, -EFAULT where there is no memory, -EAGAIN on a collision. */
int tlb_read(struct tlb *t, unsigned long addr, uint64_t *value);
unsigned long tlb_live(void);

/* Leave steps of the protocol out. */
extern bool skip_retry, skip_set_seq, skip_count;

#endif
