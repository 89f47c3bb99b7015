/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kvm: a virtual machine's memory (virt/kvm, as in Linux 6.12; the page fault is x86's).
 *
 * Shadow	the second-level page table, from guest pages (gfn) to frames, not pinned. Slots say which
 *		addresses of the process are which guest pages; the process may replace them.
 * Driver lock	mmu_lock, a rwlock or a spinlock that no one sleeps with; from the retry check to the end of
 *		the write to the table.
 * Invalidate	a list notifier, for all events, which never refuses. start: under mmu_lock, counts the
 *		invalidation in progress, extends the range of guest pages that are in progress, zaps, and
 *		flushes what it has zapped. end: under mmu_lock, increments the seq and counts down. Neither
 *		does anything under mmu_lock if no slot overlaps.
 * Page fault	reads the seq; finds the page without mmu_lock; takes it; begins again if the page is in a
 *		range in progress or the seq has changed. The count says "now", the seq says "since".
 * Large pages	one entry maps a block of guest pages, if their slot is aligned as the process's memory is, and
 *		their frames are contiguous. It goes as a whole. Replacing it by small ones, or them by it, flushes.
 * Slots	are replaced only while no invalidation is between start and end, of any range: both have to
 *		see the same slots, or they count differently. So start and end count themselves first.
 * Process	a vCPU runs as a task of the process that made the VM, so the mm does not end during a page fault. When
 *		it ends, release zaps all; start and end have nothing to do with it.
 * Hazards	the page that is found during an invalidation; the invalidation that ends in between; two
 *		of them at once, of which the shorter ends first; a zapped entry that the next invalidation
 *		finds empty while a CPU still uses it; a page that the host only reads.
 *
 * Ours: the vCPUs are the lab's threads, and a lock stands for SRCU. Where upstream looks into the process's page
 * tables, the fault takes all pages of the block. It also checks all of them for invalidations in progress: in the
 * kernel, what splits a huge page announces all of it, and one page is enough. clear_young and test_young have no counterpart
 * here. The assertions are ours: of a count that is never 0 again, upstream's guest would hang.
 *
 * Most steps are bugs that an architecture's code has had: late_seq reads the seq after the address was looked up,
 * no_slot_wait is KVM before 5.15. This file has the notifier; the faults and the guest are in kvm_fault.c.
 */
#include <errno.h>
#include <sched.h>

#include "lab/models/kvm.h"
#include "lab/models/models.h"

/* ---------------------------------------------------------------------------------------- invalidate */

struct gfn_range {
	size_t start, end;
};

/* The guest pages of slot s that are in pages [first, end); empty if none is. */
static struct gfn_range hva_to_gfn(struct kvm *kvm, size_t s, size_t first, size_t end)
{
	size_t page = kvm_slot_page(kvm, s), gfn = s * SLOT_PAGES;

	first = first > page ? first : page;
	end = end < page + SLOT_PAGES ? end : page + SLOT_PAGES;
	lab_cut(kvm->lab, &first, &end);
	if (first >= end)
		return (struct gfn_range){0};
	if (lab_is_broken(kvm->lab, WRONG_BASE))
		return (struct gfn_range){gfn, gfn + end - first};
	return (struct gfn_range){gfn + first - page, gfn + end - page};
}

/* Collects the ranges of all slots that the invalidation concerns. How many. The mm's end is release's. */
static size_t concerned(struct kvm *kvm, const struct mmu_notifier_range *range,
			struct gfn_range *gfns)
{
	size_t n = 0;

	for (size_t s = 0; s < NR_SLOTS && range->event != MMU_NOTIFY_RELEASE; s++) {
		gfns[n] = hva_to_gfn(kvm, s, lab_page(kvm->lab, range->start),
				     lab_page(kvm->lab, range->end));
		n += gfns[n].start < gfns[n].end;
		if (n && lab_is_broken(kvm->lab, ONE_SLOT))
			break;
	}
	return n;
}

static void count_active(struct kvm *kvm, int change)
{
	lab_spin_lock(&kvm->mn_invalidate_lock);
	if (!__atomic_add_fetch(&kvm->mn_active_invalidate_count, change, __ATOMIC_RELAXED))
		pthread_cond_broadcast(&kvm->mn_inactive);
	lab_unlock(&kvm->mn_invalidate_lock);
}

/* Under mmu_lock, as is all up to the callbacks. Shrinks only when nothing is in progress any more. */
static void range_add(struct kvm *kvm, const struct gfn_range *gfns)
{
	if (gfns->start < kvm->mmu_invalidate_range_start)
		kvm->mmu_invalidate_range_start = gfns->start;
	if (gfns->end > kvm->mmu_invalidate_range_end)
		kvm->mmu_invalidate_range_end = gfns->end;
}

static void count_seq(struct kvm *kvm)
{
	__atomic_store_n(&kvm->mmu_invalidate_seq, kvm->mmu_invalidate_seq + 1, __ATOMIC_RELEASE);
}

static void invalidate_begin(struct kvm *kvm, const struct gfn_range *gfns, size_t n)
{
	if (lab_is_broken(kvm->lab, SEQ_AT_START))
		count_seq(kvm);
	if (!kvm->mmu_invalidate_in_progress++ || lab_is_broken(kvm->lab, REPLACE_RANGE)) {
		kvm->mmu_invalidate_range_start = NR_GFNS;
		kvm->mmu_invalidate_range_end = 0;
	}
	if (lab_is_broken(kvm->lab, NESTED_AS_ONE))
		kvm->mmu_invalidate_in_progress = 1;
	for (size_t k = 0; k < n; k++)
		range_add(kvm, &gfns[k]);
}

static void invalidate_end(struct kvm *kvm)
{
	bool late = lab_is_broken(kvm->lab, SEQ_AFTER_COUNT);

	if (!late && !lab_is_broken(kvm->lab, SEQ_AT_START))
		count_seq(kvm);
	LAB_ASSERT(kvm->lab,
		   kvm->mmu_invalidate_in_progress > 0 || lab_is_broken(kvm->lab, NESTED_AS_ONE),
		   "an end without a start");
	kvm->mmu_invalidate_in_progress -= kvm->mmu_invalidate_in_progress > 0;
	if (!late)
		return;
	lab_unlock(&kvm->mmu_lock);
	sched_yield();
	lab_spin_lock(&kvm->mmu_lock);
	count_seq(kvm);
}

bool kvm_unmap_gfns(struct kvm *kvm, size_t start, size_t end)
{
	bool any = false;

	for (size_t gfn = start; gfn < end; gfn++)
		any |= lab_mmu_is_mapped(&kvm->mmu, gfn);
	if (lab_is_broken(kvm->lab, SMALL_ONLY))
		lab_mmu_clear_small(&kvm->mmu, start, end - start);
	else
		lab_mmu_clear(&kvm->mmu, start, end - start);
	return any;
}

/*
 * Before mmu_lock is dropped: whoever takes it next and finds the entries empty does not flush, and relies on it that
 * no CPU uses them.
 */
static void flush_remote_tlbs(struct kvm *kvm)
{
	bool early = lab_is_broken(kvm->lab, FLUSH_UNLOCKED);

	if (lab_is_broken(kvm->lab, NO_FLUSH))
		return;
	if (early)
		lab_unlock(&kvm->mmu_lock);
	lab_mmu_flush(&kvm->mmu, 0, NR_GFNS);
	if (early)
		lab_spin_lock(&kvm->mmu_lock);
}

static int invalidate_range_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct kvm *kvm = (struct kvm *)mn;
	struct gfn_range gfns[NR_SLOTS];
	bool flush = false;
	size_t n;

	if (lab_ignores(kvm->lab, range))
		return 0;
	count_active(kvm, 1);
	n = concerned(kvm, range, gfns);
	if (!n)
		return 0;
	lab_count_invalidation(kvm->lab, range);
	lab_spin_lock(&kvm->mmu_lock);
	invalidate_begin(kvm, gfns, n);
	for (size_t k = 0; k < n; k++)
		flush |= kvm_unmap_gfns(kvm, gfns[k].start, gfns[k].end);
	if (flush)
		flush_remote_tlbs(kvm);
	lab_unlock(&kvm->mmu_lock);
	return 0;
}

static void invalidate_range_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct kvm *kvm = (struct kvm *)mn;
	struct gfn_range gfns[NR_SLOTS];
	size_t n;

	if (lab_ignores(kvm->lab, range))
		return;
	if (lab_is_broken(kvm->lab, NO_END)) {
		count_active(kvm, -1);
		return;
	}
	n = concerned(kvm, range, gfns);
	if (n) {
		lab_spin_lock(&kvm->mmu_lock);
		for (size_t k = 0; k < n; k++)
			for (size_t gfn = gfns[k].start; gfn < gfns[k].end; gfn++)
				LAB_ASSERT(kvm->lab, !lab_mmu_is_mapped(&kvm->mmu, gfn),
					   "gfn %zu was mapped during an invalidation", gfn);
		invalidate_end(kvm);
		lab_unlock(&kvm->mmu_lock);
	}
	count_active(kvm, -1);
}

/* The process exits. The VM itself goes later, with its file. */
static void release(struct mmu_notifier *mn, struct mrn_mm *mm)
{
	struct kvm *kvm = (struct kvm *)mn;

	lab_spin_lock(&kvm->mmu_lock);
	kvm->released = true;
	if (!lab_is_broken(kvm->lab, NO_RELEASE)) {
		kvm_unmap_gfns(kvm, 0, NR_GFNS);
		flush_remote_tlbs(kvm);
	}
	lab_unlock(&kvm->mmu_lock);
	if (lab_is_broken(kvm->lab, UNREGISTER_IN_RELEASE)) {
		mmu_notifier_unregister(mn, mm);
		kvm->registered = false;
	}
}

static const struct mmu_notifier_ops mn_ops = {
	.release = release,
	.invalidate_range_start = invalidate_range_start,
	.invalidate_range_end = invalidate_range_end,
};

/* ------------------------------------------------------------------------------------------ open, close */

static void destroy_vm(void *dev)
{
	struct kvm *kvm = dev;

	if (kvm->vcpu)
		lab_thread_join(kvm->vcpu);
	if (kvm->registered)
		mmu_notifier_unregister(&kvm->mn, lab_mm(kvm->lab));
	LAB_ASSERT(kvm->lab, !kvm->mmu_invalidate_in_progress && !kvm->mn_active_invalidate_count,
		   "%d starts without an end", kvm->mmu_invalidate_in_progress);
	lab_mmu_destroy(&kvm->mmu);
	pthread_rwlock_destroy(&kvm->slots_srcu);
	pthread_cond_destroy(&kvm->mn_inactive);
	pthread_mutex_destroy(&kvm->mn_invalidate_lock);
	pthread_mutex_destroy(&kvm->mmu_lock);
}

static int create_vm(struct lab *lab, void *dev)
{
	struct kvm *kvm = dev;
	int err;

	kvm->lab = lab;
	kvm->mn.ops = &mn_ops;
	kvm->busy = NR_GFNS;
	pthread_mutex_init(&kvm->mmu_lock, NULL);
	pthread_mutex_init(&kvm->mn_invalidate_lock, NULL);
	pthread_cond_init(&kvm->mn_inactive, NULL);
	pthread_rwlock_init(&kvm->slots_srcu, NULL);
	for (size_t s = 0; s < NR_SLOTS; s++)
		kvm->slot[s] = s * SLOT_PAGES;
	err = lab_mmu_init_large(&kvm->mmu, NR_GFNS, LAB_ORDER);
	if (!err)
		err = mmu_notifier_register(&kvm->mn, lab_mm(lab));
	if (err)
		return err;
	kvm->registered = true;
	kvm->vcpu = lab_thread_start(lab, kvm_run_guest, kvm);
	return kvm->vcpu ? 0 : -ENOMEM;
}

const struct lab_driver lab_kvm = {
	.name = "kvm",
	.about = "a virtual machine's second-level page table",
	.steps = steps,
	.size = sizeof(struct kvm),
	.open = create_vm,
	.work = kvm_work,
	.close = destroy_vm,
};
