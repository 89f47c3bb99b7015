/* SPDX-License-Identifier: BSD-3-Clause */
/* The GPU that nouveau drives: a page table, programs that use it, and a buffer of their faults. */
#ifndef LAB_NOUVEAU_GPU_H
#define LAB_NOUVEAU_GPU_H

#include "lab/parts/devmem.h"
#include "lab/parts/mmu.h"

#define VRAM_PAGES     16 /* too few for all */
#define BUFFER_ENTRIES 64 /* a power of two */

/* Flags of an entry of the page table, in its number, besides valid and write. */
#define PFN_VRAM   (UINT64_C(1) << 53) /* the number is VRAM's, not a frame */
#define PFN_ATOMIC (UINT64_C(1) << 52)
#define PFN_NUMBER (PFN_ATOMIC - 1)

/* Ordered: a stronger access is greater. */
enum access { READ, WRITE, ATOMIC };

/* An access of the GPU. After a fault it stalls until the fault is replayed or cancelled. */
struct warp {
	size_t page;
	enum access access;
	enum warp_state { READY, STALLED, CANCELLED } state; /* under the buffer's lock */
};

struct nouveau_svm_fault {
	size_t page;
	enum access access;
	struct warp *warp; /* NULL: no warp waits */
	bool cancel;
};

struct nouveau_gpu {
	struct lab *lab;
	struct lab_mmu vmm; /* the page table, by page of the region */
	struct lab_devmem vram;
	struct lab_thread *engine;
	struct {
		pthread_mutex_t lock; /* the hardware's, in effect */
		pthread_cond_t replayed;
		struct nouveau_svm_fault entry[BUFFER_ENTRIES];
		uint32_t get, put;
	} buffer;
};

/* Does not open VRAM: the driver does. 0 or -errno; call fini in either case. */
int nouveau_gpu_init(struct nouveau_gpu *gpu, struct lab *lab);
void nouveau_gpu_fini(struct nouveau_gpu *gpu);

/* Runs other channels, which do not wait for their faults, until stop. 0 or -errno. */
int nouveau_gpu_start(struct nouveau_gpu *gpu);
void nouveau_gpu_stop(struct nouveau_gpu *gpu);

/* Some access of some program. */
struct warp nouveau_gpu_launch(struct nouveau_gpu *gpu, struct lab_thread *t);
/* False when the page table does not allow it. */
bool nouveau_gpu_access(struct nouveau_gpu *gpu, const struct warp *w, struct lab_thread *t);
/* Reports a fault of w; waits is w, which stalls then, or NULL. */
void nouveau_gpu_fault(struct nouveau_gpu *gpu, const struct warp *w, struct warp *waits);
/* Waits until w no longer stalls. */
enum warp_state nouveau_gpu_wait(struct nouveau_gpu *gpu, const struct warp *w);

/* Takes all faults out of the buffer: at most BUFFER_ENTRIES. */
size_t nouveau_gpu_get_faults(struct nouveau_gpu *gpu, struct nouveau_svm_fault *fault);
/* Cancels the faults that could not be handled, and replays the others, all at once. */
void nouveau_gpu_settle(struct nouveau_gpu *gpu, const struct nouveau_svm_fault *fault, size_t n);

#endif
