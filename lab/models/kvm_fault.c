/* SPDX-License-Identifier: BSD-3-Clause */
/* kvm: the guest, its page faults, and the process that gives it memory. */
#include <errno.h>
#include <sched.h>

#include "lab/models/kvm.h"

#define OPS_PER_SET_REGION  64 /* one in this many operations replaces a slot */
#define ACCESSES_PER_LINGER 64

/* ---------------------------------------------------------------------------------------- page faults */

/*
 * Under mmu_lock. Exact: start counts itself active before it takes the lock, end after it has dropped it. A count that
 * is left over, or one too low, stays, and the fault would never end.
 */
static bool is_balanced(struct kvm *kvm)
{
	int active = __atomic_load_n(&kvm->mn_active_invalidate_count, __ATOMIC_RELAXED);
	bool balanced = kvm->mmu_invalidate_in_progress >= 0 &&
			kvm->mmu_invalidate_in_progress <= active;

	LAB_ASSERT(kvm->lab, balanced, "%d invalidations in progress, %d active",
		   kvm->mmu_invalidate_in_progress, active);
	return balanced;
}

/* Under mmu_lock. */
static bool invalidate_retry_gfn(struct kvm *kvm, uint64_t mmu_seq, size_t gfn)
{
	if (lab_is_broken(kvm->lab, NO_RETRY))
		return false;
	if (kvm->mmu_invalidate_in_progress && gfn >= kvm->mmu_invalidate_range_start &&
	    gfn < kvm->mmu_invalidate_range_end && !lab_is_broken(kvm->lab, NO_IN_PROGRESS))
		return true;
	return kvm->mmu_invalidate_seq != mmu_seq;
}

/* Acquire: the page is looked up after the seq. */
static uint64_t read_seq(struct kvm *kvm)
{
	return __atomic_load_n(&kvm->mmu_invalidate_seq, __ATOMIC_ACQUIRE);
}

static int map_if_valid(struct kvm *kvm, uint64_t mmu_seq, size_t gfn, uint64_t frame, bool write,
			struct lab_thread *t)
{
	int err = -EAGAIN;

	pthread_mutex_lock(&kvm->mmu_lock);
	if (!is_balanced(kvm)) {
		err = -EFAULT;
	} else if (!invalidate_retry_gfn(kvm, mmu_seq, gfn)) {
		lab_unlock_early(t, UNLOCK_EARLY, &kvm->mmu_lock);
		lab_mmu_map(&kvm->mmu, gfn, frame,
			    write || lab_is_broken(kvm->lab, READ_MAPS_WRITABLE));
		err = 0;
	}
	pthread_mutex_unlock(&kvm->mmu_lock);
	return err;
}

/* 0; -EAGAIN if the guest is to fault again; -EFAULT, ... While the mm has a user, so that no release comes between. */
static int find_and_map(struct kvm *kvm, size_t gfn, bool write, struct lab_thread *t)
{
	uint64_t mmu_seq = read_seq(kvm), frame;
	size_t page;
	int err;

	pthread_rwlock_rdlock(&kvm->slots_srcu);
	page = kvm_gfn_to_page(kvm, gfn);
	lab_count_faults(t, 1);
	if (lab_pin(kvm->lab, page, 1, write, &frame) < 0) {
		err = -EFAULT;
	} else {
		lab_pause(t);
		if (lab_is_broken(kvm->lab, LATE_SEQ))
			mmu_seq = read_seq(kvm);
		err = map_if_valid(kvm, mmu_seq, gfn, frame, write, t);
		/* From here on only the notifier says how long the mapping may stay. */
		lab_unpin(kvm->lab, page, &frame, 1, write && !lab_is_broken(kvm->lab, NO_DIRTY));
	}
	pthread_rwlock_unlock(&kvm->slots_srcu);
	return err;
}

static int page_fault(struct kvm *kvm, size_t gfn, bool write, struct lab_thread *t)
{
	int err;

	if (lab_is_broken(kvm->lab, NO_MM_USER))
		return find_and_map(kvm, gfn, write, t);
	/* A vCPU is a task of the VM's own process, and as long as it runs, the mm has a user. */
	if (!lab_mm_get(kvm->lab))
		return -EIO;
	err = find_and_map(kvm, gfn, write, t);
	lab_mm_put(kvm->lab);
	return err;
}

/* --------------------------------------------------------------------------------------------- a guest */

/* One access by the guest. False when the translation is missing. */
static bool access_gfn(struct kvm *kvm, size_t gfn, bool write, struct lab_thread *t)
{
	uint64_t frame = lab_mmu_begin(&kvm->mmu, gfn, write);

	if (frame == LAB_NO_FRAME)
		return false;
	lab_pause(t);
	/* Time for two invalidations at once: the second relies on the first one's flush. */
	if (lab_chance(t, ACCESSES_PER_LINGER))
		lab_linger(t);
	lab_dma(t, mrn_hmm_frame(lab_hmm(kvm->lab), frame), kvm_gfn_to_page(kvm, gfn), write);
	lab_mmu_end(&kvm->mmu, gfn);
	return true;
}

void kvm_run_guest(void *arg, struct lab_thread *t)
{
	struct kvm *kvm = arg;

	while (!lab_thread_stopping(t)) {
		access_gfn(kvm, lab_below(t, NR_GFNS), lab_chance(t, 2), t);
		lab_pause(t);
	}
}

/* KVM_SET_USER_MEMORY_REGION: other addresses for a slot. */
static void set_memory_region(struct kvm *kvm, size_t s, size_t page)
{
	pthread_rwlock_wrlock(&kvm->slots_srcu);
	pthread_mutex_lock(&kvm->mmu_lock);
	kvm_unmap_gfns(kvm, s * SLOT_PAGES, (s + 1) * SLOT_PAGES);
	lab_mmu_flush(&kvm->mmu, 0, NR_GFNS);
	pthread_mutex_unlock(&kvm->mmu_lock);
	pthread_mutex_lock(&kvm->mn_invalidate_lock);
	while (kvm->mn_active_invalidate_count && !lab_is_broken(kvm->lab, NO_SLOT_WAIT))
		pthread_cond_wait(&kvm->mn_inactive, &kvm->mn_invalidate_lock);
	__atomic_store_n(&kvm->slot[s], page, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&kvm->mn_invalidate_lock);
	pthread_rwlock_unlock(&kvm->slots_srcu);
}

void kvm_work(void *dev, struct lab_thread *t)
{
	struct kvm *kvm = dev;
	size_t gfn = lab_below(t, NR_GFNS);
	bool write = lab_chance(t, 2);
	unsigned int retries = 0;

	if (lab_chance(t, OPS_PER_SET_REGION)) {
		set_memory_region(kvm, gfn / SLOT_PAGES,
				  lab_below(t, lab_pages(kvm->lab) - SLOT_PAGES + 1));
		return;
	}
	if (!access_gfn(kvm, gfn, write, t)) {
		for (; page_fault(kvm, gfn, write, t) == -EAGAIN; retries++)
			sched_yield();
		access_gfn(kvm, gfn, write, t);
	}
	lab_count_retries(t, retries);
}
