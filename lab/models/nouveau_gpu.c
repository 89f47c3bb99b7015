/* SPDX-License-Identifier: BSD-3-Clause */
#include "lab/models/nouveau_gpu.h"

#include <errno.h>

/* ---------------------------------------------------------------------------------- the fault buffer */

/* If the buffer is full the fault is lost: its warp goes on, and faults again. */
void nouveau_gpu_fault(struct nouveau_gpu *gpu, const struct warp *w, struct warp *waits)
{
	lab_spin_lock(&gpu->buffer.lock);
	if (gpu->buffer.put - gpu->buffer.get < BUFFER_ENTRIES) {
		gpu->buffer.entry[gpu->buffer.put++ % BUFFER_ENTRIES] =
			(struct nouveau_svm_fault){w->page, w->access, waits, false};
		if (waits)
			waits->state = STALLED;
	}
	lab_unlock(&gpu->buffer.lock);
}

size_t nouveau_gpu_get_faults(struct nouveau_gpu *gpu, struct nouveau_svm_fault *fault)
{
	size_t n = 0;

	lab_spin_lock(&gpu->buffer.lock);
	while (gpu->buffer.get != gpu->buffer.put)
		fault[n++] = gpu->buffer.entry[gpu->buffer.get++ % BUFFER_ENTRIES];
	lab_unlock(&gpu->buffer.lock);
	return n;
}

void nouveau_gpu_settle(struct nouveau_gpu *gpu, const struct nouveau_svm_fault *fault, size_t n)
{
	lab_spin_lock(&gpu->buffer.lock);
	for (size_t fi = 0; fi < n; fi++)
		if (fault[fi].warp)
			fault[fi].warp->state = fault[fi].cancel ? CANCELLED : READY;
	pthread_cond_broadcast(&gpu->buffer.replayed);
	lab_unlock(&gpu->buffer.lock);
}

enum warp_state nouveau_gpu_wait(struct nouveau_gpu *gpu, const struct warp *w)
{
	enum warp_state state;

	lab_spin_lock(&gpu->buffer.lock);
	while (w->state == STALLED)
		pthread_cond_wait(&gpu->buffer.replayed, &gpu->buffer.lock);
	state = w->state;
	lab_unlock(&gpu->buffer.lock);
	return state;
}

/* ------------------------------------------------------------------------------------------ programs */

bool nouveau_gpu_access(struct nouveau_gpu *gpu, const struct warp *w, struct lab_thread *t)
{
	bool write = w->access != READ;
	uint64_t entry = lab_mmu_begin(&gpu->vmm, w->page, write), number = entry & PFN_NUMBER;

	if (entry == LAB_NO_FRAME)
		return false;
	if (w->access == ATOMIC && !(entry & PFN_ATOMIC)) {
		lab_mmu_end(&gpu->vmm, w->page);
		return false;
	}
	lab_pause(t);
	/* The oracle does not know the window that programs manage themselves. */
	if (!(entry & PFN_VRAM))
		lab_dma(t, mrn_hmm_frame(lab_hmm(gpu->lab), number), w->page, write);
	else if (number < VRAM_PAGES)
		lab_dma(t, lab_devmem_at(&gpu->vram, number), w->page, write);
	lab_mmu_end(&gpu->vmm, w->page);
	return true;
}

struct warp nouveau_gpu_launch(struct nouveau_gpu *gpu, struct lab_thread *t)
{
	return (struct warp){.page = lab_below(t, lab_pages(gpu->lab)),
			     .access = lab_chance(t, 8) ? ATOMIC : (enum access)lab_below(t, 2)};
}

static void engine(void *arg, struct lab_thread *t)
{
	struct nouveau_gpu *gpu = arg;

	while (!lab_thread_stopping(t)) {
		struct warp w = nouveau_gpu_launch(gpu, t);

		/* Not every fault: they would keep the driver too busy. */
		if (!nouveau_gpu_access(gpu, &w, t) && lab_chance(t, 64))
			nouveau_gpu_fault(gpu, &w, NULL);
		lab_pause(t);
	}
}

int nouveau_gpu_start(struct nouveau_gpu *gpu)
{
	gpu->engine = lab_thread_start(gpu->lab, engine, gpu);
	return gpu->engine ? 0 : -ENOMEM;
}

void nouveau_gpu_stop(struct nouveau_gpu *gpu)
{
	if (gpu->engine)
		lab_thread_join(gpu->engine);
	gpu->engine = NULL;
}

int nouveau_gpu_init(struct nouveau_gpu *gpu, struct lab *lab)
{
	int err = lab_mmu_init(&gpu->vmm, lab_pages(lab));

	gpu->vmm.rights = PFN_ATOMIC;
	gpu->lab = lab;
	pthread_mutex_init(&gpu->buffer.lock, NULL);
	pthread_cond_init(&gpu->buffer.replayed, NULL);
	return err;
}

void nouveau_gpu_fini(struct nouveau_gpu *gpu)
{
	lab_mmu_destroy(&gpu->vmm);
	pthread_cond_destroy(&gpu->buffer.replayed);
	pthread_mutex_destroy(&gpu->buffer.lock);
}
