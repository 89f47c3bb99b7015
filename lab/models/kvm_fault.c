/* SPDX-License-Identifier: BSD-3-Clause */
/* kvm: the guest, its page faults, and the process that gives it memory. */
#include <errno.h>
#include <sched.h>

#include "lab/models/kvm.h"

#define OPS_PER_SET_REGION  64 /* one in this many operations replaces a slot */
#define OPS_PER_PREFAULT    4  /* one in this many maps without an access, if a vCPU is busy */
#define ACCESSES_PER_LINGER 32
#define FAULTS_PER_SMALL    2 /* one in this many maps one page, as where writes are logged */

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

/* What a fault maps: n guest pages from gfn on, one or a block, to the frames from frame[at] on. */
struct fault {
	uint64_t mmu_seq;
	size_t gfn, n;
	uint64_t frame[LARGE_GFNS];
	size_t at;
	bool write;
};

/* Under mmu_lock. */
static bool invalidate_retry(struct kvm *kvm, const struct fault *f, size_t gfn, size_t n)
{
	if (lab_is_broken(kvm->lab, NO_RETRY))
		return false;
	if (kvm->mmu_invalidate_in_progress && gfn + n > kvm->mmu_invalidate_range_start &&
	    gfn < kvm->mmu_invalidate_range_end && !lab_is_broken(kvm->lab, NO_IN_PROGRESS))
		return true;
	return kvm->mmu_invalidate_seq != f->mmu_seq;
}

/* Acquire: the page is looked up after the seq. */
static uint64_t read_seq(struct kvm *kvm)
{
	return __atomic_load_n(&kvm->mmu_invalidate_seq, __ATOMIC_ACQUIRE);
}

/* Under mmu_lock. */
static void map(struct kvm *kvm, const struct fault *f)
{
	bool write = f->write || lab_is_broken(kvm->lab, READ_MAPS_WRITABLE);

	LAB_ASSERT(kvm->lab, !kvm->released, "gfn %zu is mapped after the mm has ended", f->gfn);
	/* What is replaced goes first: the next invalidation that finds nothing mapped does not flush. */
	if (lab_is_broken(kvm->lab, NO_REPLACE_FLUSH))
		lab_mmu_clear(&kvm->mmu, f->gfn, f->n);
	else if (f->n > 1 || lab_mmu_is_large(&kvm->mmu, f->gfn))
		lab_mmu_unmap(&kvm->mmu, f->gfn, f->n);
	if (f->n > 1)
		lab_mmu_map_large(&kvm->mmu, f->gfn, f->frame[0], write);
	else
		lab_mmu_map(&kvm->mmu, f->gfn, f->frame[f->at], write);
}

static int map_if_valid(struct kvm *kvm, const struct fault *f, size_t gfn, struct lab_thread *t)
{
	bool one = lab_is_broken(kvm->lab, RETRY_ONE_GFN);
	int err = -EAGAIN;

	lab_spin_lock(&kvm->mmu_lock);
	if (!is_balanced(kvm)) {
		err = -EFAULT;
	} else if (!invalidate_retry(kvm, f, one ? gfn : f->gfn, one ? 1 : f->n)) {
		lab_unlock_early(t, UNLOCK_EARLY, &kvm->mmu_lock);
		map(kvm, f);
		err = 0;
	}
	lab_unlock(&kvm->mmu_lock);
	return err;
}

/* True if guest's and host's blocks agree. Under slots_srcu. */
static bool may_be_large(struct kvm *kvm, size_t gfn)
{
	size_t page = kvm_slot_page(kvm, gfn / SLOT_PAGES);

	return !(page % LARGE_GFNS) || lab_is_broken(kvm->lab, UNALIGNED_SLOT);
}

static bool is_block(const struct kvm *kvm, const struct fault *f)
{
	for (size_t k = 1; k < f->n; k++)
		if (f->frame[k] != f->frame[0] + k)
			return false;
	return !(f->frame[0] % f->n) || lab_is_broken(kvm->lab, UNALIGNED_FRAMES);
}

/* Takes the pages behind the block around gfn, or behind gfn alone. Their first page, or -EFAULT, ... */
static long take_pages(struct kvm *kvm, struct fault *f, size_t gfn, struct lab_thread *t)
{
	bool write = f->write && !lab_is_broken(kvm->lab, READ_PIN);
	size_t page;

	f->n = may_be_large(kvm, gfn) && !lab_chance(t, FAULTS_PER_SMALL) ? LARGE_GFNS : 1;
	f->gfn = gfn - gfn % f->n;
	page = kvm_gfn_to_page(kvm, f->gfn);
	if (lab_is_broken(kvm->lab, UNALIGNED_SLOT))
		page -= page % f->n;
	if (f->n > 1 && lab_pin(kvm->lab, page, f->n, write, f->frame) > 0)
		return (long)page;
	f->n = 1;
	f->gfn = gfn;
	page = kvm_gfn_to_page(kvm, gfn);
	return lab_pin(kvm->lab, page, 1, write, f->frame) < 0 ? -EFAULT : (long)page;
}

/* 0; -EAGAIN if the guest is to fault again; -EFAULT, ... While the mm has a user, so that no release comes between. */
static int find_and_map(struct kvm *kvm, size_t gfn, bool write, struct lab_thread *t)
{
	struct fault f = {.mmu_seq = read_seq(kvm), .write = write};
	size_t taken;
	long page;
	int err;

	lab_read_lock(&kvm->slots_srcu);
	lab_count_faults(t, 1);
	page = take_pages(kvm, &f, gfn, t);
	if (page < 0) {
		err = -EFAULT;
	} else {
		taken = f.n;
		if (!is_block(kvm, &f)) {
			f.at = gfn - f.gfn;
			f.gfn = gfn;
			f.n = 1;
		}
		lab_pause(t);
		if (lab_is_broken(kvm->lab, LATE_SEQ))
			f.mmu_seq = read_seq(kvm);
		err = map_if_valid(kvm, &f, gfn, t);
		/* From here on only the notifier says how long the mapping may stay. */
		if (!err || !lab_is_broken(kvm->lab, NO_UNPIN))
			lab_unpin(kvm->lab, (size_t)page, f.frame, taken,
				  write && !lab_is_broken(kvm->lab, NO_DIRTY));
	}
	lab_rw_unlock(&kvm->slots_srcu);
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
	if (lab_chance(t, ACCESSES_PER_LINGER)) {
		__atomic_store_n(&kvm->busy, gfn, __ATOMIC_RELAXED);
		lab_linger(t);
		__atomic_store_n(&kvm->busy, NR_GFNS, __ATOMIC_RELAXED);
	}
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
	lab_down_write(&kvm->slots_srcu);
	lab_spin_lock(&kvm->mmu_lock);
	kvm_unmap_gfns(kvm, s * SLOT_PAGES, (s + 1) * SLOT_PAGES);
	lab_mmu_flush(&kvm->mmu, 0, NR_GFNS);
	lab_unlock(&kvm->mmu_lock);
	lab_spin_lock(&kvm->mn_invalidate_lock);
	while (kvm->mn_active_invalidate_count && !lab_is_broken(kvm->lab, NO_SLOT_WAIT))
		pthread_cond_wait(&kvm->mn_inactive, &kvm->mn_invalidate_lock);
	__atomic_store_n(&kvm->slot[s], page, __ATOMIC_RELAXED);
	lab_unlock(&kvm->mn_invalidate_lock);
	lab_rw_unlock(&kvm->slots_srcu);
}

/*
 * KVM_PRE_FAULT_MEMORY: maps a page that may be mapped, maybe in another size. Then pages another one of its block out
 * (MADV_PAGEOUT), which a vCPU uses through what was mapped before.
 */
static void prefault(struct kvm *kvm, size_t gfn, bool write, struct lab_thread *t)
{
	lab_count_retries(t, 0);
	page_fault(kvm, gfn - gfn % LARGE_GFNS + lab_below(t, LARGE_GFNS), write, t);
	lab_pause(t);
	mrn_hmm_reclaim(lab_hmm(kvm->lab), (void *)lab_addr(kvm->lab, kvm_gfn_to_page(kvm, gfn)),
			lab_bytes(1));
}

void kvm_work(void *dev, struct lab_thread *t)
{
	struct kvm *kvm = dev;
	size_t gfn = lab_below(t, NR_GFNS), busy = __atomic_load_n(&kvm->busy, __ATOMIC_RELAXED);
	bool write = lab_chance(t, 2);
	unsigned int retries = 0;

	if (lab_chance(t, OPS_PER_SET_REGION)) {
		set_memory_region(kvm, gfn / SLOT_PAGES,
				  lab_below(t, lab_pages(kvm->lab) - SLOT_PAGES + 1));
		return;
	}
	if (busy < NR_GFNS && lab_chance(t, OPS_PER_PREFAULT)) {
		prefault(kvm, busy, write, t);
		return;
	}
	if (!access_gfn(kvm, gfn, write, t)) {
		for (; page_fault(kvm, gfn, write, t) == -EAGAIN; retries++)
			sched_yield();
		access_gfn(kvm, gfn, write, t);
	}
	lab_count_retries(t, retries);
}
