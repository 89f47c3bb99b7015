/* SPDX-License-Identifier: BSD-3-Clause */
#include "lab/parts/fence.h"

#include <stddef.h>

#include "lab/held.h"
#include "lab/lab.h"
#include "os/futex.h"

void dma_fence_init(struct dma_fence *f, void (*release)(struct dma_fence *f))
{
	*f = (struct dma_fence){.refs = 1, .release = release};
	lab_hold(LAB_FENCES);
}

struct dma_fence *dma_fence_get(struct dma_fence *f)
{
	if (f)
		__atomic_fetch_add(&f->refs, 1, __ATOMIC_RELAXED);
	return f;
}

void dma_fence_put(struct dma_fence *f)
{
	if (!f || __atomic_fetch_sub(&f->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	lab_let_go(LAB_FENCES);
	if (f->release)
		f->release(f);
}

void dma_fence_signal(struct dma_fence *f)
{
	/* Release: a thread that sees the signal sees what the device has done. */
	__atomic_store_n(&f->state, 1, __ATOMIC_RELEASE);
	mrn_futex_wake(&f->state, INT_MAX);
}

bool dma_fence_is_signaled(const struct dma_fence *f)
{
	return __atomic_load_n(&f->state, __ATOMIC_ACQUIRE);
}

void dma_fence_wait(struct dma_fence *f)
{
	lab_might_sleep("waits for a fence");
	while (!dma_fence_is_signaled(f))
		mrn_futex_wait(&f->state, 0, NULL);
}
