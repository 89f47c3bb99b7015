/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SIGSYS stays ours and stays unblocked. A caught call finds SIGSYS blocked, and the kernel ends the process:
 * so no mask that a thread can come to run with may have it.
 */
#include <errno.h>
#include <string.h>

#include "core/check.h"
#include "os/mutex.h"
#include "os/syscall.h"
#include "source/dispatch/internal.h"

#include "os/event_path.h"

#define NR_SIGNALS	     64
#define IORING_ENTER_EXT_ARG (1u << 3)

/* ------------------------------------------------------------------------------------------------ masks */

/* Reads a mask; false where there is none, or none with SIGSYS. */
static bool takes_sigsys(uint64_t addr, mrn_sigmask *without)
{
	if (!addr || MRN_BROKEN(DISPATCH_MASKS) ||
	    mrn_program_read(without, addr, sizeof(*without)) || !(*without & MRN_SIGSYS_BIT))
		return false;
	*without &= ~MRN_SIGSYS_BIT;
	return true;
}

void mrn_caught_mask(struct mrn_caught *c, int reg)
{
	mrn_sigmask mask;
	bool change = takes_sigsys((uint64_t)c->reg[reg], &mask);
	struct mrn_frame *f = mrn_caught_resume(c, mrn_stub_resume);

	if (!change)
		return;
	f->more[0] = mask;
	c->reg[reg] = (greg_t)(uintptr_t)&f->more[0];
}

void mrn_caught_procmask(struct mrn_caught *c)
{
	if (c->call.a[0] == SIG_UNBLOCK)
		mrn_caught_resume(c, mrn_stub_resume);
	else
		mrn_caught_mask(c, REG_RSI);
}

/* A mask that is pointed to by a structure whose first word is the pointer, words long. */
static void pointed_to(struct mrn_caught *c, int reg, unsigned int words)
{
	uint64_t arg[3];
	mrn_sigmask mask;
	bool change = c->reg[reg] &&
		      !mrn_program_read(arg, (uint64_t)c->reg[reg], words * sizeof(arg[0])) &&
		      takes_sigsys(arg[0], &mask);
	struct mrn_frame *f = mrn_caught_resume(c, mrn_stub_resume);

	if (!change)
		return;
	f->more[0] = mask;
	arg[0] = (uint64_t)(uintptr_t)&f->more[0];
	memcpy(&f->more[1], arg, words * sizeof(arg[0]));
	c->reg[reg] = (greg_t)(uintptr_t)&f->more[1];
}

void mrn_caught_pselect(struct mrn_caught *c)
{
	pointed_to(c, REG_R9, 2);
}

void mrn_caught_uring_enter(struct mrn_caught *c)
{
	if (c->reg[REG_R10] & IORING_ENTER_EXT_ARG)
		pointed_to(c, REG_R8, 3);
	else
		mrn_caught_mask(c, REG_R8);
}

/* ------------------------------------------------------------------------- the program's idea of SIGSYS */

static struct mrn_mutex lock; /* held with signals blocked */
static struct mrn_sigaction programs;
static bool taken;

/* In the handler, where signals are blocked: and where the program catches calls, none may be made for that. */
static void programs_action(struct mrn_sigaction *copy)
{
	mrn_mutex_lock(&lock);
	*copy = programs;
	mrn_mutex_unlock(&lock);
}

static long set_programs_action(uint64_t act, uint64_t old)
{
	struct mrn_sigaction fresh, was;
	mrn_sigmask mask;

	if (act && mrn_program_read(&fresh, act, sizeof(fresh)))
		return -EFAULT;
	mask = mrn_signals_block();
	mrn_mutex_lock(&lock);
	was = programs;
	if (act)
		programs = fresh;
	mrn_mutex_unlock(&lock);
	mrn_signals_restore(mask);
	return old ? mrn_program_write(old, &was, sizeof(was)) : 0;
}

void mrn_caught_sigaction(struct mrn_caught *c)
{
	struct mrn_sigaction act;
	bool change;
	struct mrn_frame *f;

	if (c->call.a[0] == SIGSYS && !MRN_BROKEN(DISPATCH_SIGSYS) &&
	    c->reg[REG_R10] == sizeof(mrn_sigmask)) {
		mrn_caught_return(c, set_programs_action((uint64_t)c->reg[REG_RSI],
							 (uint64_t)c->reg[REG_RDX]));
		return;
	}
	change = c->reg[REG_RSI] && !MRN_BROKEN(DISPATCH_MASKS) &&
		 !mrn_program_read(&act, (uint64_t)c->reg[REG_RSI], sizeof(act)) &&
		 (act.mask & MRN_SIGSYS_BIT);
	f = mrn_caught_resume(c, mrn_stub_resume);
	if (!change)
		return;
	act.mask &= ~MRN_SIGSYS_BIT;
	memcpy(f->more, &act, sizeof(act));
	c->reg[REG_RSI] = (greg_t)(uintptr_t)f->more;
}

/* What a signal's handler has left as the mask to go on with. */
static void let_sigsys_pass(ucontext_t *context)
{
	mrn_sigmask mask;

	memcpy(&mask, &context->uc_sigmask, sizeof(mask));
	mask &= ~MRN_SIGSYS_BIT;
	if (!MRN_BROKEN(DISPATCH_MASKS))
		memcpy(&context->uc_sigmask, &mask, sizeof(mask));
}

/* The program's handler has returned, and below its return address is what the kernel goes on with. */
void mrn_caught_sigreturn(struct mrn_caught *c)
{
	ucontext_t *context = (ucontext_t *)(uintptr_t)c->reg[REG_RSP];

	let_sigsys_pass(context);
	mrn_spare_in_frame(c, &context->uc_stack);
	c->reg[REG_RIP] = (greg_t)(uintptr_t)mrn_stub_sigreturn;
}

static void as_if_we_were_not_here(int sig)
{
	struct mrn_sigaction plain = {.handler = (void *)(uintptr_t)SIG_DFL};

	mrn_sys4(SYS_rt_sigaction, sig, (long)&plain, 0, sizeof(mrn_sigmask));
	mrn_sys3(SYS_tgkill, mrn_sys0(SYS_getpid), mrn_sys0(SYS_gettid), sig);
}

void mrn_foreign_sigsys(int sig, siginfo_t *info, ucontext_t *context)
{
	struct mrn_sigaction action;
	mrn_sigmask mask;

	programs_action(&action);
	if (action.handler == (void *)(uintptr_t)SIG_DFL) {
		as_if_we_were_not_here(sig);
		return;
	}
	if (action.handler == (void *)(uintptr_t)SIG_IGN)
		return;
	if (info->si_code == SYS_USER_DISPATCH) {
		/* Of the program's own: a call made here would be caught again, and so would the return, but at its own place. */
		if (action.flags & MRN_SA_RESTORER)
			((void **)context)[-1] = action.restorer;
	} else {
		/* As the kernel would have called it. Returning from the signal puts the program's mask back. */
		memcpy(&mask, &context->uc_sigmask, sizeof(mask));
		mask = (mask | action.mask) & ~MRN_SIGSYS_BIT;
		mrn_sys4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, sizeof(mask));
	}
	((void (*)(int, siginfo_t *, void *))action.handler)(sig, info, context);
	let_sigsys_pass(context);
}

struct mrn_sigaction mrn_sigsys_ours;

void mrn_sigsys_take_again(void)
{
	mrn_sys4(SYS_rt_sigaction, SIGSYS, (long)&mrn_sigsys_ours, 0, sizeof(mrn_sigmask));
	if (programs.handler != (void *)(uintptr_t)SIG_IGN)
		programs = (struct mrn_sigaction){.handler = (void *)(uintptr_t)SIG_DFL};
}

int mrn_sigsys_take(void (*handler)(int, siginfo_t *, void *))
{
	/*
	 * The mask: see bracket() in handler.c. NODEFER: what is called in a bracket may make calls of its own. ONSTACK:
	 * some stacks, of Go's threads for one, are too small for a signal.
	 */
	const struct mrn_sigaction ours = {
		.handler = (void *)(uintptr_t)handler,
		.flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK | SA_RESTART | MRN_SA_RESTORER,
		.restorer = (void *)(uintptr_t)mrn_stub_sigreturn,
		.mask = MRN_BROKEN(DISPATCH_SIGNALS) ? 0 : MRN_SIGNALS_BLOCKED,
	};
	mrn_sigmask unblock = MRN_SIGSYS_BIT;
	long r;

	r = mrn_sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&unblock, 0, sizeof(unblock));
	if (r || taken)
		return (int)r;
	mrn_sigsys_ours = ours;
	r = mrn_sys4(SYS_rt_sigaction, SIGSYS, (long)&ours, (long)&programs, sizeof(mrn_sigmask));
	taken = !r;
	return (int)r;
}

void mrn_sigsys_unmask_handlers(void)
{
	for (int sig = 1; sig <= NR_SIGNALS; sig++) {
		struct mrn_sigaction a;

		if (sig == SIGSYS ||
		    mrn_sys4(SYS_rt_sigaction, sig, 0, (long)&a, sizeof(mrn_sigmask)) ||
		    !(a.mask & MRN_SIGSYS_BIT))
			continue;
		a.mask &= ~MRN_SIGSYS_BIT;
		mrn_sys4(SYS_rt_sigaction, sig, (long)&a, 0, sizeof(mrn_sigmask));
	}
}
