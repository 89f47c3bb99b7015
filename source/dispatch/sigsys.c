/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The program's SIGSYS, while the kernel has our handler for it: the action that the program sets and reads, and
 * signals that dispatch has not caused. Processes that share this memory share this action.
 */
#include <errno.h>

#include "source/dispatch/check.h"
#include "os/syscall.h"
#include "source/confined.h"
#include "source/dispatch/internal.h"
#include "source/process.h"

#include "os/event_path.h"

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 /* si_code; Debian 12's headers lack it */
#endif

#define SIG_DEFAULT ((void *)(uintptr_t)SIG_DFL)
#define SIG_IGNORED ((void *)(uintptr_t)SIG_IGN)

struct mrn_sigaction mrn_sigsys_ours;

long mrn_action_set(int sig, const struct mrn_sigaction *action, struct mrn_sigaction *was)
{
	return mrn_sys4(SYS_rt_sigaction, sig, (long)action, (long)was, sizeof(mrn_sigmask));
}

/* ------------------------------------------------------------------------------------ the program's */

/*
 * version chooses one of two; a writer fills in the other. So a signal handler reads it without a lock and without a
 * system call, which a dispatch of the program's own would catch again. Writers hold the process's lock.
 */
static struct mrn_sigaction programs[2];
static uint32_t version;
/* Plus one: the version whose handler was good for one signal (SA_RESETHAND), and has had it. */
static uint32_t spent;

static struct mrn_sigaction read_programs(uint32_t *of)
{
	struct mrn_sigaction copy;
	uint32_t v;

	do {
		v = __atomic_load_n(&version, __ATOMIC_ACQUIRE);
		copy = programs[v & 1];
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while (__atomic_load_n(&version, __ATOMIC_RELAXED) != v);
	*of = v;
	if (__atomic_load_n(&spent, __ATOMIC_RELAXED) == v + 1)
		copy.handler = SIG_DEFAULT;
	return copy;
}

const struct mrn_sigaction mrn_sigsys_ignored = {.handler = SIG_IGNORED};

bool mrn_sigsys_is_ignored(void)
{
	uint32_t v;

	return read_programs(&v).handler == SIG_IGNORED;
}

/* Under the lock, or where no other thread can be. */
static void write_programs(const struct mrn_sigaction *action)
{
	const uint32_t v = version + 1;

	programs[v & 1] = *action;
	__atomic_store_n(&version, v, __ATOMIC_RELEASE);
}

mrn_sigmask mrn_actions_lock(void)
{
	const mrn_sigmask all = ~UINT64_C(0);
	mrn_sigmask mask = 0;

	mrn_sys4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)&mask, sizeof(all));
	mrn_mutex_lock(&mrn_source_process->signals);
	return mask;
}

void mrn_actions_unlock(mrn_sigmask mask)
{
	mrn_mutex_unlock(&mrn_source_process->signals);
	mrn_signals_restore(mask);
}

/* Drops what the kernel does not keep of an action. */
static void as_kept(struct mrn_sigaction *action)
{
	const uint64_t expose_tag_bits = 0x800;

	action->flags &= SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART |
			 SA_NODEFER | SA_RESETHAND | expose_tag_bits | MRN_SA_RESTORER;
	action->mask &= ~MRN_SIGNALS_NEVER_BLOCKED;
}

long mrn_sigsys_set(uint64_t act, uint64_t old)
{
	struct mrn_sigaction fresh, was;
	mrn_sigmask mask;
	uint32_t v;

	if (act && mrn_program_read(&fresh, act, sizeof(fresh)))
		return -EFAULT;
	mask = mrn_actions_lock();
	was = read_programs(&v);
	if (act) {
		as_kept(&fresh);
		write_programs(&fresh);
	}
	mrn_actions_unlock(mask);
	if (act && fresh.handler == SIG_IGNORED)
		mrn_sigsys_forget_kept();
	return old ? mrn_program_write(old, &was, sizeof(was)) : 0;
}

/* ----------------------------------------------------------------------------------- ours, and back */

static bool same(const struct mrn_sigaction *a, const struct mrn_sigaction *b)
{
	return a->handler == b->handler && a->flags == b->flags && a->mask == b->mask;
}

void mrn_action_exchange(int sig, struct mrn_sigaction expected, struct mrn_sigaction put,
			 mrn_sigmask without)
{
	struct mrn_sigaction was;

	while (!mrn_action_set(sig, &put, &was) && !same(&was, &expected)) {
		expected = put;
		put = was;
		put.mask &= ~without;
	}
}

int mrn_sigsys_take(const char *handler)
{
	/*
	 * The mask: see bracket() in handler.c. NODEFER: callbacks in a bracket may make calls of their own. ONSTACK:
	 * some stacks, such as those of Go's threads, are too small for a signal.
	 */
	struct mrn_sigaction ours = {
		.handler = (void *)(uintptr_t)handler,
		.flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK | SA_RESTART | MRN_SA_RESTORER,
		.restorer = (void *)(uintptr_t)mrn_stub_sigreturn,
		.mask = MRN_BROKEN(DISPATCH_SIGNALS) ? 0 : MRN_SIGNALS_BLOCKED,
	};
	struct mrn_sigaction was;
	mrn_sigmask mask;
	long r;

	as_kept(&ours);
	mrn_sigsys_ours = ours;
	mask = mrn_actions_lock();
	r = mrn_action_set(SIGSYS, &ours, &was);
	/* Ours may already be there: it could not be given back last time, or comes from the parent. */
	if (!r && was.handler != ours.handler)
		write_programs(&was);
	mrn_actions_unlock(mask);
	return (int)r;
}

void mrn_sigsys_unblock(void)
{
	const mrn_sigmask sigsys = MRN_SIGSYS_BIT;
	mrn_sigmask mask = 0;

	mrn_sys4(SYS_rt_sigprocmask, SIG_BLOCK, 0, (long)&mask, sizeof(mask));
	mrn_sigsys_blocked = !!(mask & MRN_SIGSYS_BIT);
	mrn_sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&sigsys, 0, sizeof(sigsys));
}

void mrn_sigsys_give_back(void)
{
	uint32_t v;

	mrn_action_exchange(SIGSYS, mrn_sigsys_ours, read_programs(&v), 0);
	mrn_handlers_give_back();
}

/* As the kernel does in a child that starts without handlers. */
static void forget_handler(void)
{
	const struct mrn_sigaction none = {.handler = SIG_DEFAULT};
	uint32_t v;

	if (read_programs(&v).handler != SIG_IGNORED)
		write_programs(&none);
	mrn_handlers_forget();
}

int mrn_sigsys_take_again(bool fresh)
{
	long r = mrn_action_set(SIGSYS, &mrn_sigsys_ours, NULL);

	if (!r && fresh)
		forget_handler();
	return (int)r;
}

void mrn_sigsys_leave_to_child(bool fresh)
{
	struct mrn_sigaction action;
	uint32_t v;

	if (fresh)
		forget_handler();
	action = read_programs(&v);
	/* A sandbox may kill for it: then our handler stays, and passes everything on. */
	if (mrn_is_confined())
		return;
	mrn_action_set(SIGSYS, &action, NULL);
	mrn_handlers_give_back();
}

/* ---------------------------------------------------------------------------------- not from here */

bool mrn_sigsys_is_of_a_call(const siginfo_t *info, const greg_t *reg)
{
	return info->si_call_addr == (void *)reg[REG_RIP] && info->si_syscall == (int)reg[REG_RAX];
}

static void as_if_we_were_not_here(int sig, const siginfo_t *info, ucontext_t *context)
{
	static const long needed[] = {SYS_rt_sigaction, SYS_getpid, SYS_gettid, SYS_tgkill};
	struct mrn_sigaction plain = {.handler = SIG_DEFAULT};
	greg_t *reg = context->uc_mcontext.gregs;
	bool may = true;

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		may = may && !mrn_is_refused(needed[i]);
	if (!may && mrn_sigsys_is_of_a_call(info, reg)) {
		/* The call is made again with its signal blocked, which ends the process in the same way. */
		((mrn_sigmask *)&context->uc_sigmask)[0] |= MRN_SIGSYS_BIT;
		reg[REG_RIP] -= MRN_SYSCALL_INSTRUCTION;
		return;
	}
	mrn_action_set(sig, &plain, NULL);
	mrn_sys3(SYS_tgkill, mrn_sys0(SYS_getpid), mrn_sys0(SYS_gettid), sig);
}

static bool is_forced(const siginfo_t *info, const ucontext_t *context)
{
	return info->si_code > 0 && mrn_sigsys_is_of_a_call(info, context->uc_mcontext.gregs);
}

/* The action for a signal that has come; SA_RESETHAND makes it the last for its handler. */
static struct mrn_sigaction action_for(bool forced, bool blocked)
{
	uint32_t v, before;
	struct mrn_sigaction action = read_programs(&v);

	/* A signal that the kernel forces is neither ignored nor kept. */
	if (action.handler == SIG_IGNORED || (forced && blocked)) {
		if (forced)
			action.handler = SIG_DEFAULT;
		return action;
	}
	if (action.flags & SA_RESETHAND) {
		before = __atomic_exchange_n(&spent, v + 1, __ATOMIC_RELAXED);
		if (before == v + 1)
			action.handler = SIG_DEFAULT;
	}
	return action;
}

/* As the kernel calls it. The return restores the mask in its frame. */
static void call_handler(const struct mrn_sigaction *action, int sig, siginfo_t *info,
			 ucontext_t *context)
{
	mrn_sigmask *before = (mrn_sigmask *)&context->uc_sigmask;
	const bool is_caught = mrn_thread_is_armed() && !MRN_BROKEN(DISPATCH_KEPT);
	mrn_sigmask mask;

	if (is_caught && mrn_sigsys_blocked)
		*before |= MRN_SIGSYS_BIT;
	if (!(action->flags & SA_NODEFER) || (action->mask & MRN_SIGSYS_BIT))
		mrn_sigsys_blocked = is_caught;
	mask = (*before | action->mask) & ~MRN_SIGSYS_BIT;
	mrn_sys4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, sizeof(mask));
	((void (*)(int, siginfo_t *, void *))action->handler)(sig, info, context);
	if (mrn_thread_is_armed())
		mrn_sigsys_blocked = mrn_let_sigsys_pass(context);
}

static void give(int sig, siginfo_t *info, ucontext_t *context, bool blocked)
{
	const struct mrn_sigaction action = action_for(is_forced(info, context), blocked);

	if (action.handler == SIG_DEFAULT) {
		as_if_we_were_not_here(sig, info, context);
		return;
	}
	if (action.handler == SIG_IGNORED)
		return;
	if (info->si_code != SYS_USER_DISPATCH) {
		call_handler(&action, sig, info, context);
		return;
	}
	/*
	 * A signal of the program's own dispatch: a call made here would be caught again, and so would the return,
	 * unless it is made at the program's own place.
	 */
	if (action.flags & MRN_SA_RESTORER)
		((void **)context)[-1] = action.restorer;
	((void (*)(int, siginfo_t *, void *))action.handler)(sig, info, context);
	mrn_let_sigsys_pass(context);
}

void mrn_sigsys_give_kept(ucontext_t *context, bool at_least_one)
{
	siginfo_t info;

	while ((at_least_one || !mrn_sigsys_blocked) && mrn_sigsys_take_kept(&info)) {
		at_least_one = false;
		give(SIGSYS, &info, context, false);
	}
}

void mrn_foreign_sigsys(int sig, siginfo_t *info, ucontext_t *context)
{
	const bool blocked = mrn_sigsys_is_blocked(context);

	if (blocked && !is_forced(info, context)) {
		mrn_sigsys_keep(info, context);
		return;
	}
	give(sig, info, context, blocked);
	mrn_sigsys_give_kept(context, false);
}
