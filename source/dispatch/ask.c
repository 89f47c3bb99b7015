/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A signal that asks another thread to do something itself. No thread of the program may block it or wait for it:
 * sigwait would take it, and report a signal that nobody has sent. So it is the one by which libc reaches each thread
 * for setuid, just below SIGRTMIN: libc lets no program block it, wait for it, or set it. libc's own handler, if there
 * is one, still gets what libc sends.
 *
 * Not SIGSYS: only one can be pending, and a call that is caught meanwhile would be taken for done.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "source/dispatch/check.h"
#include "os/futex.h"
#include "os/peek.h"
#include "os/tasks.h"
#include "os/syscall.h"
#include "source/dispatch/internal.h"

static void (*const asked[MRN_ASKS])(ucontext_t *context) = {
	[MRN_ASK_TO_ARM] = mrn_asked_to_arm,
	[MRN_ASK_TO_LEAVE] = mrn_asked_to_leave,
};
/* Their addresses mark a signal as ours. */
static char token[MRN_ASKS];
/* Futexes: the thread that has answered last. A thread may answer twice, and after the wait has ended. */
static uint32_t answered[MRN_ASKS];

/* Under the lock. */
static unsigned int askers;
static struct mrn_sigaction libcs;

static int ask_by(void)
{
	return MRN_BROKEN(DISPATCH_LIBCS) ? SIGRTMAX : SIGRTMIN - 1;
}

void mrn_on_asked(int sig, siginfo_t *info, void *context)
{
	const uintptr_t what = (uintptr_t)info->si_value.sival_ptr - (uintptr_t)token;

	if (info->si_code == SI_QUEUE && what < MRN_ASKS) {
		asked[what](context);
		__atomic_store_n(&answered[what], (uint32_t)mrn_sys0(SYS_gettid), __ATOMIC_RELEASE);
		mrn_futex_wake(&answered[what], 1);
		return;
	}
	if (libcs.handler != (void *)(uintptr_t)SIG_DFL &&
	    libcs.handler != (void *)(uintptr_t)SIG_IGN)
		((void (*)(int, siginfo_t *, void *))libcs.handler)(sig, info, context);
}

static struct mrn_sigaction action(void *handler)
{
	return (struct mrn_sigaction){
		.handler = handler,
		.flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART | MRN_SA_RESTORER,
		.restorer = (void *)(uintptr_t)mrn_stub_sigreturn,
		.mask = MRN_SIGNALS_BLOCKED & ~MRN_SIGNALS_NEVER_BLOCKED,
	};
}

static long take(void)
{
	const struct mrn_sigaction ours = action((void *)(uintptr_t)mrn_stub_asked);
	struct mrn_sigaction was;
	long r = mrn_action_set(ask_by(), NULL, &was);

	if (r)
		return r;
	/*
	 * Saved before ours is set, since a signal may come at once. A process forked while its parent asked already
	 * has ours.
	 */
	if (was.handler != ours.handler)
		libcs = was;
	return mrn_action_set(ask_by(), &ours, NULL);
}

static void give_back(void)
{
	const struct mrn_sigaction ours = action((void *)(uintptr_t)mrn_stub_asked);
	const struct mrn_sigaction ignored = action((void *)(uintptr_t)SIG_IGN);

	/* Some were sent twice. libc's handler checks the sender; without a handler, discard them. */
	if (libcs.handler == (void *)(uintptr_t)SIG_DFL) {
		mrn_action_exchange(ask_by(), ours, ignored, 0);
		mrn_action_exchange(ask_by(), ignored, libcs, 0);
	} else {
		mrn_action_exchange(ask_by(), ours, libcs, 0);
	}
}

int mrn_ask_begin(void)
{
	const mrn_sigmask mask = mrn_actions_lock();
	/* Each time: a child that starts without handlers has its parent's count, but not the handler. */
	long r = take();

	askers += !r;
	mrn_actions_unlock(mask);
	return (int)r;
}

void mrn_ask_end(void)
{
	const mrn_sigmask mask = mrn_actions_lock();

	if (!--askers)
		give_back();
	mrn_actions_unlock(mask);
}

/* ------------------------------------------------------------------------- asking */

/* True in rt_sigtimedwait past libc: while the thread sleeps there, what it waits for does not count as blocked. */
static bool waits_for_all(long name)
{
	char call[256], *args;
	mrn_sigmask set;

	if (mrn_task_about(name, "syscall", call, sizeof(call)) ||
	    strtol(call, &args, 10) != SYS_rt_sigtimedwait || args == call)
		return false;
	return !mrn_peek(&set, strtoull(args, NULL, 16), sizeof(set)) &&
	       (set >> (ask_by() - 1) & 1);
}

long mrn_ask(long name, long number, enum mrn_ask what)
{
	siginfo_t info = {.si_signo = ask_by(), .si_code = SI_QUEUE};

	if (waits_for_all(name))
		return -EBUSY;
	info.si_pid = (pid_t)mrn_sys0(SYS_getpid);
	info.si_uid = (uid_t)mrn_sys0(SYS_getuid);
	info.si_value.sival_ptr = &token[what];
	__atomic_store_n(&answered[what], 0, __ATOMIC_RELAXED);
	return mrn_sys4(SYS_rt_tgsigqueueinfo, info.si_pid, number, ask_by(), (long)&info);
}

bool mrn_cannot_be_asked(long name)
{
	struct mrn_status status;

	if (mrn_task_status(name, &status))
		return false;
	return (status.blocked >> (ask_by() - 1) & 1) || waits_for_all(name);
}

bool mrn_answers_within(long number, enum mrn_ask what, unsigned int ms)
{
	uint32_t last = __atomic_load_n(&answered[what], __ATOMIC_ACQUIRE);

	for (unsigned int i = 0; i < ms && last != (uint32_t)number; i++) {
		mrn_futex_wait_for(&answered[what], last, 1000000);
		last = __atomic_load_n(&answered[what], __ATOMIC_ACQUIRE);
	}
	return last == (uint32_t)number;
}
