/* SPDX-License-Identifier: BSD-3-Clause */
/* Starting and stopping dispatch. */
#include <linux/prctl.h>

#include "core/mm.h"
#include "os/atomic.h"
#include "source/dispatch/internal.h"

struct mrn_dispatch_ops mrn_dispatch_tells;
bool mrn_dispatch_on, mrn_dispatch_follows_fork;
uint32_t mrn_dispatch_era;
uint8_t mrn_selector[SELECTORS];

static void select_all(uint8_t what)
{
	__atomic_store_n(&mrn_selector[mrn_dispatch_era % SELECTORS], what, __ATOMIC_RELEASE);
}

int mrn_dispatch_start(bool follow_fork, const struct mrn_dispatch_ops *its_ops, char *why,
		       size_t why_size)
{
	int r = mrn_dispatch_try(why, why_size);

	if (!r)
		r = mrn_thread_has_room(why, why_size);
	if (!r)
		r = mrn_sigsys_take(mrn_stub_sigsys);
	if (r)
		return r;
	mrn_dispatch_follows_fork = follow_fork;
	if (!++mrn_dispatch_era)
		++mrn_dispatch_era;
	mrn_dispatch_tells = *its_ops;
	select_all(SYSCALL_DISPATCH_FILTER_BLOCK);
	__atomic_store_n(&mrn_own_thread_joins, mrn_dispatch_join, __ATOMIC_RELEASE);
	__atomic_store_n(&mrn_dispatch_on, true, __ATOMIC_RELEASE);
	/* Before the look for own threads; pairs with those that leave that state: they join, or are asked. */
	mrn_fence_full();
	r = mrn_thread_arm();
	if (!r)
		mrn_sigsys_unblock();
	if (!r)
		r = mrn_threads_arm(why, why_size);
	if (r) {
		mrn_dispatch_stop();
		return r;
	}
	mrn_rings_look(mrn_dispatch_tells.ring);
	mrn_handlers_take();
	return 0;
}

void mrn_dispatch_release(void)
{
	__atomic_store_n(&mrn_dispatch_on, false, __ATOMIC_SEQ_CST);
	select_all(SYSCALL_DISPATCH_FILTER_ALLOW);
}

void mrn_dispatch_stop(void)
{
	__atomic_store_n(&mrn_dispatch_on, false, __ATOMIC_SEQ_CST);
	/*
	 * Pairs with mrn_caught_is_let_go: a call whose end nobody will tell has its token before this, and is waited
	 * for; or it has none.
	 */
	mrn_fence_full();
	mrn_tokens_wait(mrn_mm_self(), 0, UINTPTR_MAX, NULL);
	mrn_dispatch_release();
	mrn_thread_disarm();
	mrn_sigsys_hand_over(NULL);
	mrn_sigsys_blocked = 0;
	/* Otherwise our handler stays, and passes everything on. */
	if (mrn_threads_settle())
		mrn_sigsys_give_back();
}
