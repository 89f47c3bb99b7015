/* SPDX-License-Identifier: BSD-3-Clause */
#include "lab/parts/fence.h"

#include <errno.h>
#include <stddef.h>

#include "os/futex.h"

/* callbacks points here once the fence is signalled. */
static struct dma_fence_cb closed;

void dma_fence_init(struct dma_fence *f, void (*release)(struct dma_fence *f))
{
	*f = (struct dma_fence){.refs = 1, .release = release};
}

struct dma_fence *dma_fence_get(struct dma_fence *f)
{
	if (f)
		__atomic_fetch_add(&f->refs, 1, __ATOMIC_RELAXED);
	return f;
}

void dma_fence_put(struct dma_fence *f)
{
	if (f && __atomic_fetch_sub(&f->refs, 1, __ATOMIC_ACQ_REL) == 1 && f->release)
		f->release(f);
}

void dma_fence_signal(struct dma_fence *f)
{
	struct dma_fence_cb *cb, *next;

	/* Release: a thread that sees the signal sees what the device has done. */
	__atomic_store_n(&f->state, 1, __ATOMIC_RELEASE);
	mrn_futex_wake(&f->state, INT_MAX);
	for (cb = __atomic_exchange_n(&f->callbacks, &closed, __ATOMIC_ACQ_REL); cb; cb = next) {
		next = cb->next;
		cb->func(cb);
	}
}

bool dma_fence_is_signaled(const struct dma_fence *f)
{
	return __atomic_load_n(&f->state, __ATOMIC_ACQUIRE);
}

void dma_fence_wait(struct dma_fence *f)
{
	while (!dma_fence_is_signaled(f))
		mrn_futex_wait(&f->state, 0, NULL);
}

int dma_fence_add_callback(struct dma_fence *f, struct dma_fence_cb *cb,
			   void (*func)(struct dma_fence_cb *cb))
{
	struct dma_fence_cb *top = __atomic_load_n(&f->callbacks, __ATOMIC_ACQUIRE);

	cb->func = func;
	do {
		if (top == &closed)
			return -ENOENT;
		cb->next = top;
	} while (!__atomic_compare_exchange_n(&f->callbacks, &top, cb, true, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	return 0;
}
