/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dma_fence: work that the device will finish. The device signals it once.
 *
 * The rule: a thread that is to signal a fence must not wait for anything that may wait for an invalidation, since
 * invalidations wait for fences. So a job, once its fence is visible, neither faults, nor allocates managed memory, nor
 * takes a lock that is held around either.
 */
#ifndef LAB_FENCE_H
#define LAB_FENCE_H

#include <stdbool.h>
#include <stdint.h>

struct dma_fence {
	uint32_t refs;
	uint32_t state; /* futex: 0, 1 signalled */
	void (*release)(struct dma_fence *f);
};

/* The caller has one reference. Dropping the last calls release. */
void dma_fence_init(struct dma_fence *f, void (*release)(struct dma_fence *f));
struct dma_fence *dma_fence_get(struct dma_fence *f); /* NULL stays NULL */
void dma_fence_put(struct dma_fence *f);

/* Call once. */
void dma_fence_signal(struct dma_fence *f);
bool dma_fence_is_signaled(const struct dma_fence *f);
void dma_fence_wait(struct dma_fence *f);

#endif
