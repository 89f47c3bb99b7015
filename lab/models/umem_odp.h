/* SPDX-License-Identifier: BSD-3-Clause */
/* umem_odp: registered memory, for its notifier and faults (umem_odp.c) and for the NIC's keys (umem_odp_mr.c). */
#ifndef LAB_UMEM_ODP_H
#define LAB_UMEM_ODP_H

#include "lab/lab.h"
#include "lab/parts/mmu.h"

#define LAB_STEPS "lab/steps/umem_odp.def"
#include "lab/steps.h"

#define CHILD_PAGES 8
#define MAX_FAULT   4 /* pages that one fault asks for */

struct nic;

/* A registered range: the explicit region, or a child of the implicit one. */
struct umem_odp {
	struct mmu_range_notifier mrn;
	struct nic *nic;
	size_t key; /* its entry in the NIC's keys; 0 for the explicit region */
	size_t first, n;
	pthread_mutex_t umem_mutex; /* the driver lock */
	unsigned long *pfn_list;    /* as hmm_range_fault has them */
	size_t npages;		    /* valid entries */
	struct lab_mmu xlt;	    /* the NIC's translation table, by page from first */
	bool revoked;		    /* under umem_mutex: the NIC no longer knows the key */
	uint32_t usecount;	    /* faults that use it */
	/* children only, under mkeys_lock */
	bool queued; /* for the worker, which frees it */
	struct umem_odp *next;
};

struct nic {
	struct lab *lab;
	size_t half,
		nr_keys;     /* the explicit region is the lower half, the implicit one the upper */
	struct lab_mmu keys; /* the NIC's own view of mr: accesses begin here */
	pthread_mutex_t keys_mutex; /* for keys; no callback takes it */
	/* By key, as the driver sees it; or NULL. mkeys_lock is innermost, and callbacks take it: allocate before. */
	struct umem_odp **mr;
	pthread_mutex_t mkeys_lock;
	struct umem_odp *dead; /* for the worker; under mkeys_lock */
	struct lab_thread *worker, *engine;
};

/* ---- umem_odp.c */

/* For a key that nothing uses yet. NULL without memory. */
struct umem_odp *umem_odp_alloc(struct nic *nic, size_t key);
/* Ends the key, and everything of the range. No fault uses it, and the NIC finds it no more. */
void umem_odp_release(struct umem_odp *odp, struct lab_thread *t);
/* Brings in pages [i, i + n) of odp. 0, -EFAULT, ... */
int umem_odp_fault(struct umem_odp *odp, size_t i, size_t n, bool write, struct lab_thread *t);

/* ---- umem_odp_mr.c */

int mlx5_open(struct lab *lab, void *nic);
void mlx5_work(void *nic, struct lab_thread *t);
void mlx5_close(void *nic);
/* Under umem_mutex, in a callback. The child is no longer found; the worker frees it. */
void mlx5_destroy_unused_child(struct umem_odp *odp);

#endif
