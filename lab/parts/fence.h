/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dma_fence: something that the device will have finished. It is signalled once, by the device.
 *
 * The rule: what signals a fence must not wait for anything that may wait for an invalidation; since
 * invalidations wait for fences. So a job, once its fence can be seen, neither faults, nor allocates
 * managed memory, nor takes a lock that is held around either.
 */
#ifndef LAB_FENCE_H
#define LAB_FENCE_H

#include <stdbool.h>
#include <stdint.h>

struct dma_fence_cb {
	struct dma_fence_cb *next;
	void (*func)(struct dma_fence_cb *cb);
};

struct dma_fence {
	uint32_t refs;
	uint32_t state;			/* futex: 0, 1 signalled */
	struct dma_fence_cb *callbacks; /* a stack; closed when signalled */
	void (*release)(struct dma_fence *f);
};

/* One reference, the caller's. release is called with the last. */
void dma_fence_init(struct dma_fence *f, void (*release)(struct dma_fence *f));
struct dma_fence *dma_fence_get(struct dma_fence *f); /* NULL stays NULL */
void dma_fence_put(struct dma_fence *f);

/* Once. Wakes who waits, then calls the callbacks, in this thread. */
void dma_fence_signal(struct dma_fence *f);
bool dma_fence_is_signaled(const struct dma_fence *f);
void dma_fence_wait(struct dma_fence *f);
/* 0; -ENOENT, and cb is not used, when it is signalled already. */
int dma_fence_add_callback(struct dma_fence *f, struct dma_fence_cb *cb,
			   void (*func)(struct dma_fence_cb *cb));

#endif
