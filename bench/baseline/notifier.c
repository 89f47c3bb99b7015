/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state of the mm is in active and seq:
 *
 *	active == 0, seq even	nothing in progress; the tree may change
 *	active > 0, seq even	invalidations in progress that met no notifier; the tree may change
 *	active > 0, seq odd	one has met a notifier: walks run without the lock, so the tree does not
 *				change, and changes are deferred until the last one has ended
 *
 * A notifier's seq equals the mm's if a callback of this odd period has been in the notifier, or while the notifier
 * waits to be inserted; otherwise it is one that the mm will not have again.
 */
#include "bench/baseline/notifier.h"

#include <errno.h>
#include <limits.h>

#include "os/futex.h"

/* ---------------------------------------------------------------------------------------------- mm */

void baseline_mm_init(struct baseline_mm *mm)
{
	*mm = (struct baseline_mm){.seq = 2};
}

void baseline_mm_destroy(struct baseline_mm *mm)
{
	*mm = (struct baseline_mm){0};
}

static bool is_invalidating(const struct baseline_mm *mm)
{
	return mm->seq & 1;
}

/* Takes the lock each time: when this returns, the end that changed the seq has finished with the lists. */
void baseline_wait(struct baseline_mm *mm, uint64_t seq)
{
	baseline_lock(&mm->lock);
	mm->waiters++;
	while (mm->seq == seq) {
		uint32_t ended = mm->ended;

		baseline_unlock(&mm->lock);
		mrn_futex_wait(&mm->ended, ended, NULL);
		baseline_lock(&mm->lock);
	}
	mm->waiters--;
	baseline_unlock(&mm->lock);
}

uint64_t baseline_read_begin(struct baseline_notifier *n)
{
	struct baseline_mm *mm = n->mm;
	uint64_t seq;
	bool met;

	baseline_lock(&mm->lock);
	seq = __atomic_load_n(&n->seq, __ATOMIC_RELAXED);
	met = seq == mm->seq;
	baseline_unlock(&mm->lock);
	if (__builtin_expect(met, 0))
		baseline_wait(mm, seq);
	return seq;
}

/* --------------------------------------------------------------------------------------- deferring */

static void defer(struct baseline_mm *mm, struct baseline_notifier *n)
{
	n->next = mm->deferred;
	n->link = &mm->deferred;
	if (n->next)
		n->next->link = &n->next;
	mm->deferred = n;
}

static void cancel_deferred(struct baseline_notifier *n)
{
	*n->link = n->next;
	if (n->next)
		n->next->link = n->link;
}

static void apply_deferred(struct baseline_mm *mm)
{
	struct baseline_notifier *n;

	while ((n = mm->deferred)) {
		cancel_deferred(n);
		if (baseline_node_is_linked(&n->node))
			baseline_tree_erase(&mm->tree, &n->node);
		else
			baseline_tree_insert(&mm->tree, &n->node);
	}
}

/* --------------------------------------------------------------------------------- insert and remove */

int baseline_insert(struct baseline_notifier *n, uintptr_t start, uintptr_t length,
		    struct baseline_mm *mm)
{
	if (!length)
		return -EINVAL;
	if (start + length < start)
		return -EOVERFLOW;
	n->mm = mm;
	n->node.start = start;
	n->node.end = start + length;
	baseline_node_unlink(&n->node);
	baseline_lock(&mm->lock);
	if (!mm->active) {
		/* A seq that the mm has had. */
		n->seq = mm->seq - 1;
		baseline_tree_insert(&mm->tree, &n->node);
	} else {
		/* Invalidations that have passed this range are in progress: the first read has to wait. */
		if (is_invalidating(mm)) {
			defer(mm, n);
		} else {
			mm->seq |= 1;
			baseline_tree_insert(&mm->tree, &n->node);
		}
		n->seq = mm->seq;
	}
	baseline_unlock(&mm->lock);
	return 0;
}

void baseline_remove(struct baseline_notifier *n)
{
	struct baseline_mm *mm = n->mm;
	uint64_t seq = 0;

	baseline_lock(&mm->lock);
	if (!is_invalidating(mm)) {
		baseline_tree_erase(&mm->tree, &n->node);
	} else if (!baseline_node_is_linked(&n->node)) {
		cancel_deferred(n); /* cancels its insertion */
	} else {
		defer(mm, n);
		seq = mm->seq;
	}
	baseline_unlock(&mm->lock);
	if (seq)
		baseline_wait(mm, seq);
}

/* ---------------------------------------------------------------------------------- start and end */

int baseline_start(struct baseline_range *range)
{
	struct baseline_mm *mm = range->mm;
	struct baseline_node *node;
	uint64_t seq;

	baseline_lock(&mm->lock);
	mm->active++;
	node = baseline_tree_first(&mm->tree, range->start, range->end);
	if (node)
		mm->seq |= 1;
	seq = mm->seq;
	baseline_unlock(&mm->lock);
	for (; node; node = baseline_tree_next(node, range->start, range->end)) {
		/* node is the notifier's first member. */
		struct baseline_notifier *n = (struct baseline_notifier *)node;

		if (!n->ops->invalidate(n, range, seq) && !range->blockable) {
			baseline_end(range);
			return -EAGAIN;
		}
	}
	return 0;
}

void baseline_end(struct baseline_range *range)
{
	struct baseline_mm *mm = range->mm;
	bool wake = false;

	baseline_lock(&mm->lock);
	if (!--mm->active && is_invalidating(mm)) {
		mm->seq++;
		if (__builtin_expect(mm->deferred != NULL, 0))
			apply_deferred(mm);
		wake = mm->waiters;
		if (wake)
			__atomic_store_n(&mm->ended, mm->ended + 1, __ATOMIC_RELAXED);
	}
	baseline_unlock(&mm->lock);
	if (__builtin_expect(wake, 0))
		mrn_futex_wake(&mm->ended, INT_MAX);
}
