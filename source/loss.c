/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Losing coverage, in this order: the coverage goes, so that nothing more is built on it; what has been built is
 * invalidated; the listeners are told.
 */
#include <errno.h>

#include "core/mm.h"
#include "os/atomic.h"
#include "os/callback.h"
#include "os/cancel.h"
#include "source/kind.h"
#include "source/state.h"

void mrn_source_invalidate_all(struct mrn_source *s)
{
	struct mmu_notifier_range all;

	mmu_notifier_range_init(&all, MMU_NOTIFY_CLEAR, MRN_RANGE_AFTER, s->mm, 0, UINTPTR_MAX);
	all.cause = MRN_CAUSE_DETACH;
	mrn_plain_forget_all(&s->plain);
	if (mmu_notifier_invalidate_range_start(&all) == 0)
		mmu_notifier_invalidate_range_end(&all);
}

static void tell(struct mrn_source *s, uint64_t causes)
{
	int cancel = mrn_cancel_hold();

	mrn_read_lock(&s->loss_lock);
	mrn_callback_depth++;
	for (struct mrn_source_loss *l = s->losses; l; l = l->next)
		l->lost(l, causes);
	mrn_callback_depth--;
	mrn_read_unlock(&s->loss_lock);
	mrn_cancel_restore(cancel);
}

/* The causes in had were covered, and have been taken out of their mask. */
static void is_gone(struct mrn_source *s, uint64_t had)
{
	struct mrn_coverage c;

	/* Another thread has found out, too. */
	if (!had)
		return;
	c = mrn_source_covered(s);
	__atomic_fetch_or(&s->lost, had & ~(c.bracketed | c.before_return | c.use_once),
			  __ATOMIC_RELAXED);
	mrn_source_invalidate_all(s);
	tell(s, had);
}

static uint64_t take_out(uint64_t *mask, uint64_t still)
{
	return __atomic_fetch_and(mask, still, __ATOMIC_SEQ_CST) & ~still;
}

void mrn_source_has_lost(struct mrn_source *s, enum mrn_kind k, uint64_t still)
{
	/*
	 * Orders what is still there before the look at the masks; pairs with the fence in mrn_source_has_seen. Either
	 * this thread finds what the trial has seen, or the trial finds what is lost.
	 */
	__atomic_fetch_and(&s->still[k], still, __ATOMIC_RELAXED);
	mrn_fence_full();
	is_gone(s, take_out(&s->seen[k].bracketed, still) |
			   take_out(&s->seen[k].before_return, still) |
			   take_out(&s->seen[k].use_once, still));
}

/* -------------------------------------------------------------------------------------------- the list */

static struct mrn_source_loss **find(struct mrn_source *s, const struct mrn_source_loss *l)
{
	struct mrn_source_loss **at = &s->losses;

	while (*at && *at != l)
		at = &(*at)->next;
	return at;
}

int mrn_source_watch_loss(struct mrn_source *s, struct mrn_source_loss *l)
{
	int r = l && l->lost ? mrn_source_may_wait(s) : -EINVAL;
	struct mrn_source_loss **at;
	mrn_sigmask mask;

	if (r)
		return r;
	mask = mrn_write_lock(&s->loss_lock);
	at = find(s, l);
	if (*at) {
		r = -EALREADY;
	} else {
		l->next = NULL;
		*at = l;
	}
	mrn_write_unlock(&s->loss_lock, mask);
	return r;
}

int mrn_source_unwatch_loss(struct mrn_source *s, struct mrn_source_loss *l)
{
	int r = l ? mrn_source_may_wait(s) : -EINVAL;
	struct mrn_source_loss **at;
	mrn_sigmask mask;

	if (r)
		return r;
	mask = mrn_write_lock(&s->loss_lock);
	at = find(s, l);
	if (*at)
		*at = l->next;
	else
		r = -ENOENT;
	mrn_write_unlock(&s->loss_lock, mask);
	return r;
}

/* --------------------------------------------------------------------------------------------- looking */

static int look(struct mrn_source *s)
{
	unsigned int kinds = __atomic_load_n(&s->kinds, __ATOMIC_ACQUIRE);
	int r = kinds ? 0 : -ENOTCONN;

	MRN_FOR_EACH_KIND(k, kinds)
		if (!r && mrn_kind_ops[k]->look)
			r = mrn_kind_ops[k]->look(s);
	if (r)
		return r;
	return __atomic_load_n(&s->lost, __ATOMIC_RELAXED) ? -EOPNOTSUPP : 0;
}

int mrn_source_check(struct mrn_source *s)
{
	int r = mrn_source_may_wait(s), cancel;

	if (r)
		return r;
	/* The self-test makes calls that are cancellation points. */
	cancel = mrn_cancel_hold();
	r = look(s);
	mrn_cancel_restore(cancel);
	return r;
}
