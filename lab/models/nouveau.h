/* SPDX-License-Identifier: BSD-3-Clause */
/* nouveau: common to its page table driver, its VRAM driver, and their callers. */
#ifndef LAB_NOUVEAU_H
#define LAB_NOUVEAU_H

#include "lab/models/nouveau_gpu.h"

#define LAB_STEPS "lab/steps/nouveau.def"
#include "lab/steps.h"

#define MAX_TOKENS 32
#define WINDOW	   8 /* pages that are migrated, or audited, at once */

struct nouveau_mn;

struct nouveau_svmm {
	struct nouveau_mn *notifier;
	struct lab *lab;
	struct nouveau_gpu gpu;
	size_t unmanaged_start, unmanaged_limit;
	pthread_mutex_t mutex; /* the driver lock */
	/* Under mutex: invalidations that have called the list notifier and have not ended. */
	const struct mmu_notifier_range *listed[MAX_TOKENS];

	/* Under mutex, by page of VRAM: the page whose entry last mapped it. */
	size_t where[VRAM_PAGES];
	/* One migration to VRAM at a time: its range. No callback takes it. */
	pthread_mutex_t migrate_mutex;
	size_t migrate_first, migrate_n;
};

/* The owner of pages in VRAM, and of pages lent to the GPU. */
static inline struct mrn_hmm_device *nouveau_owner(struct nouveau_svmm *svmm)
{
	return &svmm->gpu.vram.dev;
}

/* An operation, and how often it has begun again. */
struct nouveau_op {
	struct lab_thread *t;
	unsigned int retries;
};

struct nouveau_svm_notifier {
	struct mmu_range_notifier notifier;
	struct nouveau_svmm *svmm;
	bool exclusive; /* this fault asks for exclusive access, which is not a collision */
};

struct nouveau_ask {
	size_t first, n;       /* pages; for exclusive one */
	unsigned long request; /* HMM_PFN_REQ_*; 0 for a snapshot */
	bool exclusive;	       /* without the CPU */
	bool atomic;	       /* make the entry atomic */
	unsigned long pfns[WINDOW];
};

/* Clears entries. Under mutex. */
void nouveau_svmm_invalidate(struct nouveau_svmm *svmm, size_t first, size_t limit);

/* Inserts a range notifier for one fault. 0 or -errno. */
int nouveau_svm_notifier_insert(struct nouveau_svm_notifier *sn, struct nouveau_svmm *svmm,
				size_t first, size_t n, bool exclusive);
/* One hmm_range_fault, or the like. 0, or -errno. */
int nouveau_ask_once(struct nouveau_svm_notifier *sn, struct nouveau_ask *ask, uint64_t seq);
/* Converts an entry of hmm_range_fault to the GPU's format. */
uint64_t nouveau_entry(struct nouveau_svmm *svmm, unsigned long pfn);
/* Brings in the requested pages, and enters them into the page table. 0, or -errno. */
int nouveau_range_fault(struct nouveau_svmm *svmm, struct nouveau_ask *ask, struct nouveau_op *op);
/* One operation: a fault of the GPU, a bind, an audit. */
void nouveau_work(void *dev, struct lab_thread *t);

/* VRAM as device memory of the region. 0 or -errno. */
int nouveau_dmem_init(struct nouveau_svmm *svmm);
/* Brings everything back. May be called without dmem_init. */
void nouveau_dmem_fini(struct nouveau_svmm *svmm);
/* Migrates to VRAM those of n pages that can be migrated. */
void nouveau_dmem_migrate(struct nouveau_svmm *svmm, size_t first, size_t n);

#endif
