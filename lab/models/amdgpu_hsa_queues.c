/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The GPU's side of amdgpu_hsa: the queues, which programs fill themselves, and the part of amdkfd that
 * stops and starts them (kfd_device_queue_manager.c).
 *
 * Threads that work for a queue are counted. Stopping the queues lets no thread begin, and waits until those that have
 * begun are done, as a preemption does. Several callers may want the queues stopped: they run again when the last one
 * resumes them.
 */
#include "lab/models/amdgpu_hsa.h"

#include <errno.h>
#include <sched.h>

/* In kfd_dqm's state; the other bits count threads at work. */
#define STOPPED (UINT32_C(1) << 31)

/* --------------------------------------------------------------------------------------- stop and start */

bool kfd_queues_are_stopped(struct kfd_dqm *dqm)
{
	return __atomic_load_n(&dqm->state, __ATOMIC_ACQUIRE) & STOPPED;
}

void kfd_quiesce(struct kfd_dqm *dqm)
{
	lab_spin_lock(&dqm->lock);
	if (!dqm->qpd_evicted++ || lab_is_broken(dqm->lab, NO_QUEUE_COUNT)) {
		dqm->qpd_evicted = 1;
		__atomic_fetch_or(&dqm->state, STOPPED, __ATOMIC_ACQ_REL);
		/* The preemption fence. Work that a queue has begun is short, and waits for nothing. */
		while (!lab_is_broken(dqm->lab, NO_FENCE_WAIT) &&
		       __atomic_load_n(&dqm->state, __ATOMIC_ACQUIRE) != STOPPED)
			sched_yield();
	}
	lab_unlock(&dqm->lock);
}

void kfd_resume(struct kfd_dqm *dqm)
{
	lab_spin_lock(&dqm->lock);
	if (!--dqm->qpd_evicted) {
		__atomic_fetch_and(&dqm->state, ~STOPPED, __ATOMIC_RELEASE);
		pthread_cond_broadcast(&dqm->something_to_do);
	}
	lab_unlock(&dqm->lock);
}

void kfd_schedule_restore(struct kfd_dqm *dqm)
{
	lab_spin_lock(&dqm->lock);
	dqm->restore_work = true;
	pthread_cond_broadcast(&dqm->something_to_do);
	lab_unlock(&dqm->lock);
}

/* -------------------------------------------------------------------------------------- what queues do */

static bool queue_enter(struct kfd_dqm *dqm)
{
	uint32_t s = __atomic_load_n(&dqm->state, __ATOMIC_RELAXED);

	do {
		if (s & STOPPED)
			return false;
		/* Acquire: a running queue sees the page table as it was when the queues were started. */
	} while (!__atomic_compare_exchange_n(&dqm->state, &s, s + 1, true, __ATOMIC_ACQUIRE,
					      __ATOMIC_RELAXED));
	return true;
}

static void queue_leave(struct kfd_dqm *dqm)
{
	/* Release: the accesses happen before what follows the preemption. */
	__atomic_fetch_sub(&dqm->state, 1, __ATOMIC_RELEASE);
}

static void access_page(struct kfd_dqm *dqm, size_t i, bool write, struct lab_thread *t)
{
	uint64_t frame = lab_mmu_begin(&dqm->gpuvm, i, write);

	if (frame == LAB_NO_FRAME)
		return;
	for (unsigned int burst = 0; burst < 3; burst++) {
		lab_pause(t);
		lab_dma(t, mrn_hmm_frame(lab_hmm(dqm->lab), frame), i, write);
	}
	lab_mmu_end(&dqm->gpuvm, i);
}

/* A few accesses of a program on the GPU; a preemption waits for no more than these. */
static bool run_queue(struct kfd_dqm *dqm, struct lab_thread *t)
{
	if (!queue_enter(dqm))
		return false;
	for (size_t n = 1 + lab_below(t, 4); n; n--) {
		size_t i = lab_below(t, lab_pages(dqm->lab));

		access_page(dqm, i, lab_chance(t, 2), t);
	}
	queue_leave(dqm);
	return true;
}

/* -------------------------------------------------------------------------------------- who fills them */

/* A program on the GPU, which runs by itself. */
static void user_queue(void *arg, struct lab_thread *t)
{
	struct kfd_dqm *dqm = arg;

	while (!lab_thread_stopping(t)) {
		while (run_queue(dqm, t) && !lab_thread_stopping(t))
			lab_pause(t);
		lab_spin_lock(&dqm->lock);
		while (kfd_queues_are_stopped(dqm) && !lab_thread_stopping(t))
			pthread_cond_wait(&dqm->something_to_do, &dqm->lock);
		lab_unlock(&dqm->lock);
	}
}

/* Waits until the queues run or a restore is due. True for the latter: the caller runs it. */
static bool wait_for_queues(struct kfd_dqm *dqm)
{
	bool due;

	lab_spin_lock(&dqm->lock);
	while (kfd_queues_are_stopped(dqm) && !dqm->restore_work)
		pthread_cond_wait(&dqm->something_to_do, &dqm->lock);
	due = dqm->restore_work;
	dqm->restore_work = false;
	lab_unlock(&dqm->lock);
	return due;
}

bool kfd_dispatch(struct kfd_dqm *dqm, struct lab_thread *t)
{
	do {
		if (wait_for_queues(dqm))
			return false;
	} while (!run_queue(dqm, t));
	return true;
}

/* ----------------------------------------------------------------------------------------- init, destroy */

int kfd_dqm_init(struct kfd_dqm *dqm, struct lab *lab)
{
	int err;

	dqm->lab = lab;
	pthread_mutex_init(&dqm->lock, NULL);
	pthread_cond_init(&dqm->something_to_do, NULL);
	err = lab_mmu_init(&dqm->gpuvm, lab_pages(lab));
	for (size_t q = 0; q < KFD_QUEUES && !err; q++) {
		dqm->queue[q] = lab_thread_start(lab, user_queue, dqm);
		err = dqm->queue[q] ? 0 : -ENOMEM;
	}
	return err;
}

void kfd_dqm_stop(struct kfd_dqm *dqm)
{
	for (size_t q = 0; q < KFD_QUEUES; q++)
		if (dqm->queue[q])
			lab_thread_stop(dqm->queue[q]);
	lab_spin_lock(&dqm->lock);
	pthread_cond_broadcast(&dqm->something_to_do);
	lab_unlock(&dqm->lock);
	for (size_t q = 0; q < KFD_QUEUES; q++)
		if (dqm->queue[q])
			lab_thread_join(dqm->queue[q]);
}

void kfd_dqm_destroy(struct kfd_dqm *dqm)
{
	lab_mmu_destroy(&dqm->gpuvm);
	pthread_cond_destroy(&dqm->something_to_do);
	pthread_mutex_destroy(&dqm->lock);
}
