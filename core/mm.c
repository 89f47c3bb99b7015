/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of an mm: creating, referencing, ending; and the process's own mm. */
#include <errno.h>
#include <stddef.h>

#include "core/mm.h"
#include "lifetime/deferred.h"
#include "os/callback.h"
#include "os/container_of.h"
#include "os/pages.h"

static struct mrn_mm *self_mm;

static void free_mm(struct mrn_home *home)
{
	struct mrn_mm *mm = container_of(home, struct mrn_mm, home);

	mrn_index_destroy(&mm->index);
	mrn_pages_free(mm, sizeof(*mm));
}

static struct mrn_mm *new_mm(void)
{
	struct mrn_mm *mm;

	if (mrn_deferred_init())
		return NULL;
	mm = mrn_pages_alloc_wiped_on_fork(sizeof(*mm));
	if (!mm)
		return NULL;
	mm->counter = 1;
	mm->home.refs = 1;
	mm->home.free = free_mm;
	mm->ours = true;
	mm->index.filter.wiped = mm->index.filter.hints = true;
	__atomic_store_n(&mm->state, MRN_MM_IDLE, __ATOMIC_RELEASE);
	return mm;
}

int mrn_mm_create(struct mrn_mm **out)
{
	if (!out)
		return -EINVAL;
	*out = new_mm();
	return *out ? 0 : -ENOMEM;
}

struct mrn_mm *mrn_mm_self(void)
{
	struct mrn_mm *mm = __atomic_load_n(&self_mm, __ATOMIC_ACQUIRE), *fresh;

	if (mm && !mrn_mm_is_wiped(mm))
		return mm;
	/*
	 * The first call, or the first in a forked child. Threads may race here: one installs its mm, the others free
	 * theirs. The parent's mm, a few zeroed pages in a child, is kept: the child's copies of the parent's notifiers
	 * point to it, and learn from it that they are not the child's.
	 */
	fresh = new_mm();
	if (!fresh)
		return NULL;
	if (__atomic_compare_exchange_n(&self_mm, &mm, fresh, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return fresh;
	mrn_mm_put(fresh);
	return mm;
}

int mrn_mm_destroy(struct mrn_mm *mm)
{
	struct mmu_notifier_range range;
	mrn_sigmask mask;

	if (!mm || mm == __atomic_load_n(&self_mm, __ATOMIC_ACQUIRE))
		return -EINVAL;
	if (mrn_mm_is_wiped(mm))
		return -ESTALE;
	if (mrn_callback_depth || mrn_deferred_running())
		return -EDEADLK;

	mrn_mutex_lock(&mm->writing);
	mask = mrn_write_lock(&mm->lock);
	mm->ending = true;
	mrn_write_unlock(&mm->lock, mask);
	mrn_mutex_unlock(&mm->writing);

	/* First keep reads from beginning, then make those that have begun collide. */
	__atomic_fetch_and(&mm->state, ~MRN_STATE_ALIVE, __ATOMIC_SEQ_CST);
	mmu_notifier_range_init(&range, MMU_NOTIFY_RELEASE, 0, mm, 0, UINTPTR_MAX);
	mmu_notifier_invalidate_range_start(&range);
	/* Before the releases, which may wait for a thread that waits for this. No read succeeds from here on. */
	mmu_notifier_invalidate_range_end(&range);
	mrn_list_release(mm);

	mrn_deferred_end(&mm->home);
	mrn_mm_put(mm);
	return 0;
}
