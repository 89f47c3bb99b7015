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

/* The caller has one reference. Dropping the last calls release. */
void dma_fence_init(struct dma_fence *f, void (*release)(struct dma_fence *f));
struct dma_fence *dma_fence_get(struct dma_fence *f); /* NULL stays NULL */
void dma_fence_put(struct dma_fence *f);

/* Call once. Wakes waiting threads, then calls the callbacks in this thread. */
void dma_fence_signal(struct dma_fence *f);
bool dma_fence_is_signaled(const struct dma_fence *f);
void dma_fence_wait(struct dma_fence *f);
/* 0; -ENOENT, without using cb, if f is signalled already. */
int dma_fence_add_callback(struct dma_fence *f, struct dma_fence_cb *cb,
			   void (*func)(struct dma_fence_cb *cb));

#endif
