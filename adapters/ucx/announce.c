/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The list notifier that passes changes on to UCX.
 *
 * UCX drops registrations of a range when ucm_vm_munmap is called for it. docs/ucx.md says why a call drops a range
 * also while it is being registered. So one call is enough for everything that was registered before the call.
 * Between a call and the change that it announces, another thread may look the range up again: it pins the old pages,
 * and nothing drops them later. Hence the second call, after the change: what was registered in between goes, and
 * what is registered later pins the new pages. After the first call alone that is lost; after the second alone, a
 * thread that is given the memory's address by a call that has not returned yet may meet the old registration.
 *
 * This is the event path: any thread, inside its munmap or free. docs/ucx.md says what UCX does there.
 */
#include "adapters/ucx/announce.h"

#include <signal.h>
#include <ucm/api/ucm.h>

#include "adapters/ucx/check.h"
#include "os/thread.h"

/*
 * UCX's page table goes over a range in steps that double; addresses that no program has would wrap around there. The
 * invalidation of everything ends at the highest address.
 */
#define TOP ((uintptr_t)1 << 56)

/*
 * This thread's turn inside UCX. UCX takes a spin lock that is not recursive, so a change that is made meanwhile by this
 * same thread (by a signal handler, or by another handler of UCX's event) must not go in: it is kept here, in one range
 * that covers all such, and announced when UCX has returned. Until then, UCX's caches may still answer with it.
 */
static MRN_TLS struct {
	volatile sig_atomic_t inside;
	volatile uintptr_t start, end; /* kept; nothing if end is 0 */
} turn;

static uint64_t announced, deferred;

static void count(uint64_t *figure)
{
	__atomic_fetch_add(figure, 1, __ATOMIC_RELAXED);
}

uint64_t mrn_ucx_announced(void)
{
	return __atomic_load_n(&announced, __ATOMIC_RELAXED);
}

uint64_t mrn_ucx_deferred(void)
{
	return __atomic_load_n(&deferred, __ATOMIC_RELAXED);
}

void mrn_ucx_count_anew(void)
{
	__atomic_store_n(&announced, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&deferred, 0, __ATOMIC_RELAXED);
}

/* In one step for signal handlers: one that came in the middle, and kept a range too, would be forgotten. */
static void keep(uintptr_t start, uintptr_t end)
{
	mrn_sigmask mask = mrn_signals_block();

	if (!turn.end || start < turn.start)
		turn.start = start;
	if (end > turn.end)
		turn.end = end;
	mrn_signals_restore(mask);
}

static void tell(uintptr_t start, uintptr_t end)
{
	if (turn.inside && !MRN_BROKEN(UCX_REENTRY)) {
		keep(start, end);
		return;
	}
	while (start < end) {
		turn.inside = 1;
		ucm_vm_munmap((void *)start, end - start);
		turn.inside = 0;
		/*
		 * What was kept meanwhile. A signal handler that comes between these lines takes it first; then end is 0
		 * here, or the range is announced twice.
		 */
		start = turn.start;
		end = turn.end;
		turn.end = 0;
	}
}

/* A pinned page stays when its rights change, and when it is only looked at. */
static bool takes_pages(const struct mmu_notifier_range *range)
{
	return range->event != MMU_NOTIFY_PROTECTION_VMA &&
	       range->event != MMU_NOTIFY_PROTECTION_PAGE && range->event != MMU_NOTIFY_SOFT_DIRTY;
}

static void pass_on(const struct mmu_notifier_range *range)
{
	tell(range->start, range->end > TOP && !MRN_BROKEN(UCX_CLAMP) ? TOP : range->end);
}

static int before(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	if (!takes_pages(range))
		return 0;
	count(&announced);
	if (turn.inside)
		count(&deferred);
	if (!MRN_BROKEN(UCX_BEGIN))
		pass_on(range);
	return 0;
}

static void after(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	if (takes_pages(range) && !MRN_BROKEN(UCX_END))
		pass_on(range);
}

const struct mmu_notifier_ops mrn_ucx_notifier_ops = {
	.invalidate_range_start = before,
	.invalidate_range_end = after,
};
