/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * amdgpu_hsa: the driver's interface to the GPU. Programs fill the queues themselves, so the driver can only stop all
 * of them, write the page table, and start them again.
 */
#ifndef LAB_AMDGPU_HSA_H
#define LAB_AMDGPU_HSA_H

#include "lab/lab.h"
#include "lab/parts/mmu.h"

#define LAB_STEPS "lab/steps/amdgpu_hsa.def"
#include "lab/steps.h"

#define KFD_QUEUES 2

/* The device queue manager, with the queues of one process, and the page table that they work with. */
struct kfd_dqm {
	struct lab *lab;
	struct lab_mmu gpuvm; /* by page of the region; it changes under the driver's locks */
	pthread_mutex_t lock; /* nests inside the driver's */
	pthread_cond_t something_to_do;
	bool restore_work;	  /* scheduled */
	unsigned int qpd_evicted; /* how many want the queues stopped */
	uint32_t state;		  /* atomic; STOPPED (set under lock), and how many are at work */
	struct lab_thread *queue[KFD_QUEUES];
};

/* Starts the queues. 0 or -ENOMEM; stop and destroy dqm in either case. */
int kfd_dqm_init(struct kfd_dqm *dqm, struct lab *lab);
/* Ends the queues. Keeps the page table. */
void kfd_dqm_stop(struct kfd_dqm *dqm);
void kfd_dqm_destroy(struct kfd_dqm *dqm);

bool kfd_queues_are_stopped(struct kfd_dqm *dqm);
/* Stops the queues, unless they are stopped, and waits until they have been preempted. */
void kfd_quiesce(struct kfd_dqm *dqm);
/* Starts them again, unless another caller still wants them stopped. */
void kfd_resume(struct kfd_dqm *dqm);

/* The restore worker has no thread of its own: the next thread that waits for the queues runs it. */
void kfd_schedule_restore(struct kfd_dqm *dqm);
/*
 * A dispatch of a program, which waits until the queues run. False, with nothing done, if a restore is due: the caller
 * runs it.
 */
bool kfd_dispatch(struct kfd_dqm *dqm, struct lab_thread *t);

#endif
