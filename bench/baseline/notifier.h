/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rival of mrn's notifiers: range notifiers as Linux has them since 5.5 (mmu_interval_notifier), in user space and
 * in our own words. One spinlock per mm; a red-black interval tree; a count of the invalidations in progress; one
 * sequence number, odd while one of them has met a notifier; a list of inserts and removes that wait until it is even
 * again.
 *
 * As fast as that design gets: without what the kernel does besides (lockdep, the mm's reference counts, the classic
 * list of notifiers); everything that can be inline is; and an end without waiters wakes nobody.
 */
#ifndef BENCH_BASELINE_NOTIFIER_H
#define BENCH_BASELINE_NOTIFIER_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/baseline/rbtree.h"
#include "bench/baseline/spinlock.h"

#define BASELINE_CACHE_LINE 64

struct baseline_notifier;

/* As in the kernel: one cache line for the lock and what it guards. The tree does not change while seq is odd. */
struct baseline_mm {
	struct baseline_lock lock;
	uint64_t active; /* invalidations in progress */
	uint64_t seq;
	struct baseline_tree tree;
	struct baseline_notifier *deferred; /* to be inserted or removed when seq becomes even */
	uint32_t ended; /* futex: goes up when seq becomes even and there are waiters */
	uint32_t waiters;
} __attribute__((aligned(BASELINE_CACHE_LINE)));

/* One invalidation, in its caller's memory. */
struct baseline_range {
	struct baseline_mm *mm;
	uintptr_t start, end;
	bool blockable;
};

struct baseline_ops {
	/* As mmu_range_notifier_ops.invalidate. */
	bool (*invalidate)(struct baseline_notifier *n, const struct baseline_range *range,
			   uint64_t cur_seq);
};

/* One cache line for all that a walk and a callback need. The caller zeroes it and sets ops. */
struct baseline_notifier {
	struct baseline_node node;
	const struct baseline_ops *ops;
	uint64_t seq;
	struct baseline_mm *mm;
	struct baseline_notifier *next, **link; /* in the deferred list */
} __attribute__((aligned(BASELINE_CACHE_LINE)));

void baseline_mm_init(struct baseline_mm *mm);
/* Nothing may be in progress; drops what is inserted. */
void baseline_mm_destroy(struct baseline_mm *mm);

/* Over [start, start + length); 0, or -EINVAL or -EOVERFLOW. Never waits, but the first read may. */
int baseline_insert(struct baseline_notifier *n, uintptr_t start, uintptr_t length,
		    struct baseline_mm *mm);
/* Waits until no callback runs; that is, until the seq is even. Do not call from a callback. */
void baseline_remove(struct baseline_notifier *n);

/* Calls every notifier that overlaps. 0, or -EAGAIN if one refuses; then nothing has started. */
int baseline_start(struct baseline_range *range);
void baseline_end(struct baseline_range *range);

/* Waits until mm's seq changes. The slow path of read_begin. */
void baseline_wait(struct baseline_mm *mm, uint64_t seq);

/* ------------------------------------------------------------------------------------------ reading */

/* A function, as in the kernel. Do not hold the driver lock. */
uint64_t baseline_read_begin(struct baseline_notifier *n);

/* Hold the driver lock. */
static inline bool baseline_read_retry(struct baseline_notifier *n, uint64_t seq)
{
	return __atomic_load_n(&n->seq, __ATOMIC_RELAXED) != seq;
}

/* From the callback, with the driver lock held. Relaxed: a read_begin that sees it early only waits. */
static inline void baseline_update_seq(struct baseline_notifier *n, uint64_t cur_seq)
{
	__atomic_store_n(&n->seq, cur_seq, __ATOMIC_RELAXED);
}

#endif
