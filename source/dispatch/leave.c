/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Filters (seccomp) that would stop dispatch. Without rt_sigreturn no handler returns; without prctl no thread can
 * leave, and no new one can arm itself; and the stubs change actions, masks and stacks by bare calls. So a thread that
 * puts itself under such a filter leaves before, and says so: its call goes on after the handler has returned, and none
 * of its later calls is caught. The rest of dispatch relies on this:
 *
 *	a thread that is armed is under no filter that refuses one of cannot_do_without
 *
 * since a new thread has its maker's filters. A filter may be for all threads at once (TSYNC), wherever they are: even
 * in our handler, before its return. So all threads are let go, and then asked by a signal. A thread that answers is
 * not in our handler, which runs with signals blocked, nor on its way to one, since the kernel handles that first; and
 * it is back from the answer when it no longer blocks the signal. A thread that blocks it all the while is waited for
 * no longer than a handler takes.
 *
 * The same happens when the program sets up a dispatch of its own: SIGSYS is the program's from then on, and the
 * signals of its dispatch must not meet our handler, whose calls it would catch; when it says who may trace it; and
 * when it makes segments of its own, where our storage might be looked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <stddef.h>

#include "source/dispatch/check.h"
#include "os/futex.h"
#include "os/syscall.h"
#include "os/tasks.h"
#include "source/bracket/held.h"
#include "source/confined.h"
#include "source/dispatch/internal.h"

#include "os/event_path.h"

#define STEP_NS	  1000000
#define STEPS_MAX 100
#define PASSES	  100

static bool any_left; /* a thread that answered had been armed */

void mrn_asked_to_leave(ucontext_t *context)
{
	if (mrn_armed_in) {
		mrn_caught_end_all();
		mrn_thread_disarm();
		mrn_sigsys_hand_over(context);
		mrn_sigsys_blocked = 0;
		__atomic_store_n(&any_left, true, __ATOMIC_RELAXED);
	}
}

/* Waits until the thread does not block it, for a bounded time. */
static bool wait_until_open(long name)
{
	uint32_t nobody = 0;

	for (unsigned int i = 0; i < STEPS_MAX; i++) {
		if (!mrn_cannot_be_asked(name))
			return true;
		mrn_futex_wait_for(&nobody, 0, STEP_NS);
	}
	return false;
}

/* False: it may still be in our handler, or on its way to it. */
static bool ask(long name, long number)
{
	if (mrn_thread_makes_no_calls(name))
		return true;
	if (!wait_until_open(name))
		return false;
	switch (mrn_ask(name, number, MRN_ASK_TO_LEAVE)) {
	case 0:
		return (mrn_answers_within(number, MRN_ASK_TO_LEAVE, STEPS_MAX) &&
			wait_until_open(name)) ||
		       mrn_thread_makes_no_calls(name);
	case -ESRCH:
		return true;
	default:
		return false;
	}
}

struct asked {
	long self;
	bool all;
};

static bool ask_another(long name, void *asked)
{
	struct asked *a = asked;
	long number = mrn_number_of_thread(name);

	if (number != a->self && !mrn_is_own_thread(number))
		a->all &= ask(name, number);
	return true;
}

static bool ask_all(void)
{
	struct asked a = {.self = mrn_sys0(SYS_gettid), .all = true};

	return !mrn_tasks_visit(ask_another, &a) && a.all;
}

static bool all_others_leave(void)
{
	bool all = false;

	/* From here on no new thread is armed, and none comes to a handler that was not on its way. */
	mrn_dispatch_release();
	if (mrn_ask_begin())
		return false;
	for (int pass = 0; pass < PASSES; pass++) {
		__atomic_store_n(&any_left, false, __ATOMIC_RELAXED);
		all = ask_all();
		if (!__atomic_load_n(&any_left, __ATOMIC_ACQUIRE))
			break;
	}
	mrn_ask_end();
	return all && !__atomic_load_n(&any_left, __ATOMIC_ACQUIRE);
}

bool mrn_all_leave(void)
{
	bool all;

	/* Told first: what others do from then on is not seen. */
	mrn_thread_is_not_armed();
	all = all_others_leave();
	mrn_caught_lose();
	return all;
}

void mrn_caught_own_dispatch(const struct mrn_call *call)
{
	int saved = errno;

	if (call->a[1] != PR_SYS_DISPATCH_ON || MRN_BROKEN(DISPATCH_OWN))
		mrn_caught_lose();
	else if (mrn_all_leave())
		mrn_sigsys_give_back();
	errno = saved;
}

void mrn_caught_names_tracer(const struct mrn_call *call)
{
	int saved = errno;

	if (call->a[0] == PR_SET_PTRACER && call->a[1] && !MRN_BROKEN(DISPATCH_TRACER))
		mrn_all_leave();
	errno = saved;
}

void mrn_caught_writes_ldt(const struct mrn_call *call)
{
	const int write = 1, write_as_now = 0x11;
	int saved = errno;

	if (((int)call->a[0] == write || (int)call->a[0] == write_as_now) &&
	    !MRN_BROKEN(DISPATCH_FS))
		mrn_all_leave();
	errno = saved;
}

static const long cannot_do_without[] = {
	SYS_rt_sigreturn, SYS_prctl, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_sigaltstack,
};

static bool has_one(const struct mrn_call_set *refused)
{
	for (size_t i = 0; i < sizeof(cannot_do_without) / sizeof(cannot_do_without[0]); i++)
		if (mrn_call_set_has(refused, (unsigned long)cannot_do_without[i]))
			return true;
	return false;
}

void mrn_caught_confine(const struct mrn_call *call)
{
	struct mrn_confinement next;
	int saved = errno;

	if (!mrn_confines(call, &next))
		return;
	if (has_one(&next.refused) && !MRN_BROKEN(DISPATCH_LEAVE)) {
		if (next.everywhere)
			mrn_all_leave();
		else
			mrn_caught_lose();
	}
	mrn_confine(&next);
	errno = saved;
}
