/* SPDX-License-Identifier: BSD-3-Clause */
/* kfd_svm: the ranges, for their notifiers and their worker (kfd_svm.c) and for the GPU's faults (kfd_svm_fault.c). */
#ifndef LAB_KFD_SVM_H
#define LAB_KFD_SVM_H

#include "lab/lab.h"
#include "lab/parts/mmu.h"

#define LAB_STEPS "lab/steps/kfd_svm.def"
#include "lab/steps.h"

#define MAX_RANGE   12 /* pages */
#define LARGE_PAGES ((size_t)1 << LAB_ORDER)

struct svms;

struct svm_range {
	struct mmu_range_notifier notifier;
	struct svms *svms;
	size_t start, n;
	pthread_mutex_t lock; /* the driver lock */
	/* under lock: */
	bool dead[MAX_RANGE];	/* unmapped since the range was made */
	bool split;		/* the entries are the pieces' */
	struct svm_range *next; /* of svms->ranges */
	/* under deferred_list_lock */
	bool deferred;
	struct svm_range *next_deferred;
};

/* The ranges of a process. */
struct svms {
	struct lab *lab;
	struct lab_mmu gpuvm; /* by page of the region; each entry under its range's lock */
	pthread_rwlock_t mmap_lock;
	pthread_mutex_t lock; /* the list, for faults that add to it; no callback takes it */
	struct svm_range *ranges;
	pthread_mutex_t deferred_list_lock; /* nests inside a range's lock */
	struct svm_range *deferred_range_list;
	struct lab_thread *worker, *engine;
};

/* True while ranges wait for the worker. */
static inline bool svm_has_work(struct svms *svms)
{
	return __atomic_load_n(&svms->deferred_range_list, __ATOMIC_RELAXED);
}

/* ---- kfd_svm.c */

/* With a notifier, but not in the list yet. NULL without memory. */
struct svm_range *svm_range_new(struct svms *svms, size_t start, size_t n);
/* With svms->lock, or with the mmap lock for writing. */
void svm_range_link(struct svm_range *prange);
/* Marks the pages that the GPU may write to. Under the range's lock, before it loses that right. */
void svm_set_dirty(struct svms *svms, size_t first, size_t n);
/* With the mmap lock for writing: a program no longer wants the range on the GPU. */
void svm_range_release(struct svm_range *prange);

/* ---- kfd_svm_fault.c */

/* lab_driver's work: an access that faults if it has to, or a range that is freed. */
void svm_work(void *svms, struct lab_thread *t);
/* Programs on the GPU, where pages are mapped. */
void svm_engine(void *svms, struct lab_thread *t);

#endif
