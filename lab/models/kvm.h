/* SPDX-License-Identifier: BSD-3-Clause */
/* kvm: the machine's memory, common to its notifier and its faults. */
#ifndef LAB_KVM_H
#define LAB_KVM_H

#include "lab/parts/mmu.h"
#include "lab/lab.h"

#define LAB_STEPS "lab/steps/kvm.def"
#include "lab/steps.h"

#define NR_SLOTS   4
#define SLOT_PAGES 12
#define NR_GFNS	   (NR_SLOTS * SLOT_PAGES)
#define LARGE_GFNS ((size_t)1 << LAB_ORDER) /* of a large entry; slots are whole blocks of them */

struct kvm {
	struct mmu_notifier mn;
	bool registered;
	struct lab *lab;
	pthread_mutex_t mmu_lock; /* the driver lock */
	struct lab_mmu mmu;	  /* by gfn; under mmu_lock */
	bool released;		  /* under mmu_lock: the mm has ended */
	/* Under mmu_lock, but a fault reads the seq without it. */
	uint64_t mmu_invalidate_seq;
	int mmu_invalidate_in_progress;
	size_t mmu_invalidate_range_start, mmu_invalidate_range_end; /* gfns, if in progress */

	pthread_mutex_t mn_invalidate_lock;
	int mn_active_invalidate_count; /* changes under mn_invalidate_lock */
	pthread_cond_t mn_inactive;

	/*
	 * By slot: its first page. Written under slots_srcu, mn_invalidate_lock, and with nothing of the slot mapped;
	 * read by faults under slots_srcu, by callbacks while they are counted, by accesses while they are in flight.
	 */
	size_t slot[NR_SLOTS];
	pthread_rwlock_t slots_srcu;
	size_t busy; /* a gfn that a vCPU uses for long, or NR_GFNS: a hint, atomic */
	struct lab_thread *vcpu;
};

static inline size_t kvm_slot_page(struct kvm *kvm, size_t s)
{
	return __atomic_load_n(&kvm->slot[s], __ATOMIC_RELAXED);
}

/* The page behind a guest page. */
static inline size_t kvm_gfn_to_page(struct kvm *kvm, size_t gfn)
{
	return kvm_slot_page(kvm, gfn / SLOT_PAGES) + gfn % SLOT_PAGES;
}

/* Under mmu_lock. True if there was anything; then flush before the lock is dropped. */
bool kvm_unmap_gfns(struct kvm *kvm, size_t start, size_t end);

/* ---- kvm_fault.c */

/* lab_driver's work: a vCPU that faults, or the process that replaces a slot. */
void kvm_work(void *dev, struct lab_thread *t);
/* Another vCPU, which accesses what is mapped. */
void kvm_run_guest(void *kvm, struct lab_thread *t);

#endif
