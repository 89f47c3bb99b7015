/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The program's handlers of other signals whose masks contain SIGSYS. The kernel must not block it (mask.c). So the
 * kernel gets the masks without it, and calls mrn_stub_masking, which marks SIGSYS as blocked for the program, notes
 * the state before in the signal's frame, and goes on to the program's handler. In a thread without dispatch it only
 * goes on.
 *
 * Processes that share this memory share these; so if one has actions of its own, nothing is replaced.
 */
#include <errno.h>

#include "os/syscall.h"
#include "source/dispatch/check.h"
#include "source/dispatch/internal.h"

#include "os/event_path.h"

#define NR_SIGNALS 64

#define SIG_DEFAULT ((void *)(uintptr_t)SIG_DFL)
#define SIG_IGNORED ((void *)(uintptr_t)SIG_IGN)

void *mrn_masking_handlers[NR_SIGNALS];
/* Signals whose mask contains SIGSYS, as the program sees it. */
static uint64_t masking;

_Static_assert(offsetof(ucontext_t, uc_sigmask) == CONTEXT_MASK, "mrn_stub_masking knows it");

static uint64_t bit_of(long sig)
{
	return UINT64_C(1) << (sig - 1);
}

static void *stub(void)
{
	return (void *)(uintptr_t)mrn_stub_masking;
}

/* From the program's action to the kernel's. */
static void take(long sig, struct mrn_sigaction *action)
{
	if (!(action->mask & MRN_SIGSYS_BIT) || MRN_BROKEN(DISPATCH_MASKS)) {
		__atomic_fetch_and(&masking, ~bit_of(sig), __ATOMIC_RELAXED);
		return;
	}
	__atomic_fetch_or(&masking, bit_of(sig), __ATOMIC_RELAXED);
	action->mask &= ~MRN_SIGSYS_BIT;
	if (action->handler == SIG_DEFAULT || action->handler == SIG_IGNORED ||
	    __atomic_load_n(&mrn_has_company, __ATOMIC_RELAXED) || MRN_BROKEN(DISPATCH_KEPT))
		return;
	if (action->handler != stub())
		__atomic_store_n(&mrn_masking_handlers[sig - 1], action->handler, __ATOMIC_RELAXED);
	action->handler = stub();
}

/* And back. */
static void give(struct mrn_sigaction *action, bool masks, void *handler)
{
	if (masks)
		action->mask |= MRN_SIGSYS_BIT;
	if (action->handler == stub())
		action->handler = handler;
}

static bool can_be_set(long sig)
{
	return sig >= 1 && sig <= NR_SIGNALS && !(bit_of(sig) & MRN_SIGNALS_NEVER_BLOCKED);
}

long mrn_handler_set(long sig, uint64_t act, uint64_t old, long size)
{
	struct mrn_sigaction set, was;
	mrn_sigmask mask;
	void *handler;
	bool masks;
	long r;

	if (size != sizeof(mrn_sigmask))
		return -EINVAL;
	if (act && mrn_program_read(&set, act, sizeof(set)))
		return -EFAULT;
	/* SIGKILL's action may be read. */
	if (!can_be_set(sig)) {
		r = mrn_raw(SYS_rt_sigaction, sig, act ? (long)&set : 0, (long)&was, size);
		return r || !old ? r : mrn_program_write(old, &was, sizeof(was));
	}
	mask = mrn_actions_lock();
	masks = masking & bit_of(sig);
	handler = mrn_masking_handlers[sig - 1];
	if (act)
		take(sig, &set);
	r = mrn_raw(SYS_rt_sigaction, sig, act ? (long)&set : 0, (long)&was, size);
	mrn_actions_unlock(mask);
	if (r)
		return r;
	give(&was, masks, handler);
	return old ? mrn_program_write(old, &was, sizeof(was)) : 0;
}

void mrn_handlers_take(void)
{
	for (int sig = 1; sig <= NR_SIGNALS; sig++) {
		struct mrn_sigaction a, ours;

		if (sig == SIGSYS || mrn_action_set(sig, NULL, &a) || !(a.mask & MRN_SIGSYS_BIT))
			continue;
		ours = a;
		take(sig, &ours);
		mrn_action_exchange(sig, a, ours, MRN_SIGSYS_BIT);
	}
}

void mrn_handlers_give_back(void)
{
	for (int sig = 1; sig <= NR_SIGNALS; sig++) {
		struct mrn_sigaction ours, a;

		if (!(masking & bit_of(sig)) || mrn_action_set(sig, NULL, &ours))
			continue;
		a = ours;
		give(&a, true, mrn_masking_handlers[sig - 1]);
		mrn_action_exchange(sig, ours, a, 0);
	}
	mrn_handlers_forget();
}

void mrn_handlers_forget(void)
{
	__atomic_store_n(&masking, 0, __ATOMIC_RELAXED);
}
