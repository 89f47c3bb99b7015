/* SPDX-License-Identifier: BSD-3-Clause */
/* The SIGSYS handler: what to do with which call. */
#include <asm/prctl.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/prctl.h>
#include <string.h>
#include <sys/ptrace.h>

#include "source/dispatch/check.h"
#include "os/atomic.h"
#include "os/peek.h"
#include "os/syscall.h"
#include "source/bracket/held.h"
#include "source/dispatch/internal.h"
#include "source/observe.h"

#include "os/event_path.h"

#define RED_ZONE 128

MRN_TLS struct mrn_frame mrn_vfork_frame;

/* --------------------------------------------------------------------------------- the caught thread */

/*
 * A place for a frame that is free while the handler runs and afterwards: below the red zone; or, if the signal's own
 * frame is there, in the siginfo, which returning from the signal does not read.
 */
static struct mrn_frame *frame_of(const struct mrn_caught *c)
{
	uintptr_t sp = (uintptr_t)c->reg[REG_RSP], info = (uintptr_t)c->info;
	const uintptr_t near = 64 << 10;
	struct mrn_frame *spare = mrn_spare_frame(c);

	_Static_assert(sizeof(struct mrn_frame) <= sizeof(siginfo_t),
		       "a frame goes where siginfo is");
	if (spare)
		return spare;
	/* An alternate stack may be near, too, but a thread that goes on there would be taken to be on it. */
	if (info < sp && sp - info < near && !mrn_handler_is_aside(c))
		return (struct mrn_frame *)info;
	return (struct mrn_frame *)((sp - RED_ZONE - sizeof(struct mrn_frame)) & ~(uintptr_t)15);
}

static void fill(struct mrn_frame *f, const greg_t *reg)
{
	f->rip = (uint64_t)reg[REG_RIP];
	f->rsp = (uint64_t)reg[REG_RSP];
	f->flags = (uint64_t)reg[REG_EFL];
	f->rdi = (uint64_t)reg[REG_RDI];
	f->rsi = (uint64_t)reg[REG_RSI];
	f->rdx = (uint64_t)reg[REG_RDX];
	f->r10 = (uint64_t)reg[REG_R10];
	f->r8 = (uint64_t)reg[REG_R8];
	f->r9 = (uint64_t)reg[REG_R9];
	f->arm = 0;
}

struct mrn_frame *mrn_caught_resume(struct mrn_caught *c, const char *stub)
{
	struct mrn_frame *f = stub == mrn_stub_vfork ? &mrn_vfork_frame : frame_of(c);

	fill(f, c->reg);
	if (stub == mrn_stub_resume)
		f->call = (uint32_t)c->reg[REG_RAX] | (mrn_sigsys_blocked ? CALL_BLOCKS_SIGSYS : 0);
	if (stub != mrn_stub_vfork)
		c->reg[REG_RSP] = (greg_t)(uintptr_t)f;
	c->reg[REG_RIP] = (greg_t)(uintptr_t)stub;
	return f;
}

/* Starts the tokens of a pending change by a call that goes on at f by mrn_stub_tell. */
static void hold(struct mrn_caught *c, struct mrn_frame *f, const struct mrn_file_change *change)
{
	const struct mrn_held *held = mrn_held_start(change, (uintptr_t)f);

	f->held = true;
	c->reg[REG_RSI] = mrn_file_change_argument(&held->change, 2, c->reg[REG_RSI]);
	c->reg[REG_RDX] = mrn_file_change_argument(&held->change, 3, c->reg[REG_RDX]);
}

void mrn_caught_return(struct mrn_caught *c, long value)
{
	c->reg[REG_RAX] = value;
	c->reg[REG_RCX] = c->reg[REG_RIP];
	c->reg[REG_R11] = c->reg[REG_EFL];
}

/* If the kernel may not be asked, as in some containers, trust the address. */
int mrn_program_read(void *into, uint64_t addr, size_t size)
{
	int r = mrn_peek(into, addr, size);

	if (!r || r == -EFAULT)
		return r;
	memcpy(into, (const void *)(uintptr_t)addr, size);
	return 0;
}

int mrn_program_write(uint64_t addr, const void *from, size_t size)
{
	int r = mrn_poke(addr, from, size);

	if (!r || r == -EFAULT)
		return r;
	memcpy((void *)(uintptr_t)addr, from, size);
	return 0;
}

/* The kernel's store lets a stack grow, like a store of the program's. */
static bool kernel_stores(uintptr_t addr)
{
	return mrn_sys4(SYS_rt_sigprocmask, SIG_BLOCK, 0, (long)addr, sizeof(mrn_sigmask)) !=
	       -EFAULT;
}

bool mrn_is_writable(uintptr_t addr, size_t size)
{
	return kernel_stores(addr + size - sizeof(mrn_sigmask)) && kernel_stores(addr);
}

/* ------------------------------------------------------------------------------------------- the calls */

static void as_they_came(long a[6], const greg_t *reg)
{
	a[0] = reg[REG_RDI];
	a[1] = reg[REG_RSI];
	a[2] = reg[REG_RDX];
	a[3] = reg[REG_R10];
	a[4] = reg[REG_R8];
	a[5] = reg[REG_R9];
}

/*
 * Made here, with all signals blocked: a handler that does not return, or a cancellation, must not leave a token
 * behind. None of these calls waits for anything that a signal would end, except those that change a file.
 */
static void bracket(struct mrn_caught *c)
{
	long came[6];
	int saved = errno;
	long r;

	mrn_caught_takes_anothers_stack(&c->call);
	if (mrn_caught_on_changing_stack(c) || mrn_caught_takes_own_stack(c, &c->call))
		return;
	as_they_came(came, c->reg);
	r = mrn_bracket_number(mrn_sys6, &c->call, c->reg[REG_RAX], came);
	mrn_caught_stack_changed(c, r);
	mrn_caught_own_stack_taken(c, &c->call, r);
	errno = saved;
	mrn_caught_return(c, r);
}

bool mrn_caught_is_let_go(void)
{
	mrn_fence_full();
	return !mrn_dispatch_is_on();
}

/*
 * It goes on like any other call, since it may block for long, be interrupted, or be cancelled; but the handler is told
 * when it is over. bracket/held.h lists the ways in which it may be left.
 */
static void file_call(struct mrn_caught *c)
{
	struct mrn_file_change change;
	struct mrn_frame *f;
	int saved = errno;

	mrn_file_change_number(&change, &c->call);
	if (change.pending) {
		mrn_caught_empties_own_stack(c);
		f = mrn_caught_resume(c, mrn_stub_tell);
		hold(c, f, &change);
		if (mrn_caught_is_let_go())
			mrn_held_end_at((uintptr_t)f, false);
	} else {
		mrn_caught_resume(c, mrn_stub_resume);
	}
	errno = saved;
}

/* mrn_stub_tell's call is over; rsp is at its frame, where more[0] is what the call has returned. */
static void told(struct mrn_caught *c)
{
	const struct mrn_frame *f = (const struct mrn_frame *)c->reg[REG_RSP];
	int saved = errno;

	if (f->held)
		mrn_held_end_at((uintptr_t)f, mrn_sys_failed((long)f->more[0]));
	mrn_caught_exec_told((uintptr_t)f);
	errno = saved;
	mrn_caught_return(c, 0);
}

/* Ends those of calls that one of the program's handlers, or a cancellation, has left. */
static void end_what_is_left(const struct mrn_caught *c)
{
	const stack_t *alternate = &c->context->uc_stack;
	const uintptr_t where = (uintptr_t)c->reg[REG_RSP], bottom = (uintptr_t)alternate->ss_sp;
	const size_t size = alternate->ss_flags & SS_DISABLE ? 0 : alternate->ss_size;
	int saved = errno;

	if (!mrn_held_any() && !mrn_caught_exec_any())
		return;
	if (mrn_armed_in) {
		mrn_held_end_left(where, bottom, size);
		mrn_caught_exec_end_left(where, bottom, size);
	} else {
		mrn_caught_end_all();
	}
	errno = saved;
}

void mrn_caught_end_all(void)
{
	mrn_caught_exec_end();
	mrn_held_end_all();
}

void mrn_caught_lose(void)
{
	if (mrn_dispatch_tells.lost)
		mrn_dispatch_tells.lost();
	mrn_thread_lose();
	mrn_caught_end_all();
}

/* In an own thread, or in a new one before it goes on: its changes would not be seen. */
void mrn_thread_is_not_armed(void)
{
	int saved = errno;

	if (mrn_dispatch_tells.lost)
		mrn_dispatch_tells.lost();
	errno = saved;
}

void mrn_tell_of_guest(void)
{
	if (mrn_dispatch_tells.guest && !MRN_BROKEN(DISPATCH_GUESTS))
		mrn_dispatch_tells.guest();
}

static void by_kind(struct mrn_caught *c)
{
	switch (mrn_call_kind(&c->call)) {
	case MRN_CALL_MEMORY:
		bracket(c);
		break;
	case MRN_CALL_FILE:
		file_call(c);
		break;
	default:
		mrn_caught_resume(c, mrn_stub_resume);
		break;
	}
}

static void prctl_call(struct mrn_caught *c)
{
	if (c->call.a[0] == PR_SET_SYSCALL_USER_DISPATCH)
		mrn_caught_own_dispatch(&c->call);
	mrn_caught_names_tracer(&c->call);
	by_kind(c);
}

/* A tracer sees each SIGSYS and may swallow it: a thread that is about to be traced leaves. */
static void ptrace_call(struct mrn_caught *c)
{
	if (c->call.a[0] == PTRACE_TRACEME)
		mrn_caught_lose();
	mrn_caught_resume(c, mrn_stub_resume);
}

/*
 * Thread-local storage is found by fs. An instruction may load fs with a segment that any thread has made; and
 * arch_prctl moves it.
 */
static void segment_call(struct mrn_caught *c)
{
	const void *here = __builtin_thread_pointer();

	if (c->call.nr == SYS_modify_ldt)
		mrn_caught_writes_ldt(&c->call);
	else if (c->call.a[0] == ARCH_SET_FS && c->call.a[1] != (long)(uintptr_t)here &&
		 !MRN_BROKEN(DISPATCH_FS))
		mrn_caught_lose();
	mrn_caught_resume(c, mrn_stub_resume);
}

/* True if the kernel lacks this x32 call about signals. Makes the call itself, with arguments that change nothing. */
static bool is_unknown(const struct mrn_caught *c)
{
	return mrn_raw(c->reg[REG_RAX], 0, 0, 0, 0) == -ENOSYS;
}

/* Calls whose x32 form is another, and calls that the handler answers. False if the call is treated like x86-64's. */
static bool x32_call(struct mrn_caught *c)
{
	switch (c->call.nr) {
	case SYS_rt_sigaction:
	case SYS_sigaltstack:
		/* They would replace our handler, or hide where it runs. */
		if (!is_unknown(c))
			mrn_caught_lose();
		break;
	case SYS_rt_sigprocmask:
	case SYS_rt_sigpending:
		if (!is_unknown(c))
			return false;
		break;
	case SYS_rt_sigreturn:
	case SYS_rt_sigtimedwait:
		break;
	default:
		return false;
	}
	mrn_caught_resume(c, mrn_stub_resume);
	return true;
}

/* mrn_stub_tell makes this call to be caught, and it is not passed on: a sandbox might refuse it. */
static void told_or_resume(struct mrn_caught *c)
{
	if (c->reg[REG_RIP] == (greg_t)(uintptr_t)mrn_stub_told)
		told(c);
	else
		mrn_caught_resume(c, mrn_stub_resume);
}

static void do_call(struct mrn_caught *c)
{
	switch (c->call.nr) {
	case SYS_execve:
	case SYS_execveat:
		mrn_caught_exec(c);
		break;
	case SYS_prctl:
		prctl_call(c);
		break;
	case SYS_exit: /* no row: os/event_path.h poisons the name */
		mrn_caught_end_all();
		mrn_caught_exit(c);
		break;
#define OTHER(name, i386, narrow, caught) \
	case SYS_##name:                  \
		caught;                   \
		break;
#include "source/bracket/calls.def"
	default:
		by_kind(c);
		break;
	}
}

static void set_arguments(greg_t *reg, const long a[6])
{
	reg[REG_RDI] = a[0];
	reg[REG_RSI] = a[1];
	reg[REG_RDX] = a[2];
	reg[REG_R10] = a[3];
	reg[REG_R8] = a[4];
	reg[REG_R9] = a[5];
}

/* What the program finds in its registers after the call: a stub takes it from the frame. */
static void give_arguments_back(struct mrn_caught *c, const long a[6])
{
	const uintptr_t at = (uintptr_t)c->reg[REG_RIP];
	struct mrn_frame *f = (struct mrn_frame *)c->reg[REG_RSP];

	if (at < (uintptr_t)__start_mrn_syscalls || at >= (uintptr_t)__stop_mrn_syscalls) {
		set_arguments(c->reg, a);
		return;
	}
	f->rdi = (uint64_t)a[0];
	f->rsi = (uint64_t)a[1];
	f->rdx = (uint64_t)a[2];
	f->r10 = (uint64_t)a[3];
	f->r8 = (uint64_t)a[4];
	f->r9 = (uint64_t)a[5];
}

/* A call that somebody wants to see: source/observe.h. Dispatch looks at the arguments as they are after that. */
static void observed_call(struct mrn_caught *c, const long came[6])
{
	long a[6], result;
	int saved = errno;
	bool made;

	memcpy(a, came, sizeof(a));
	if (c->call.nr == SYS_io_uring_setup)
		mrn_ring_is_made();
	made = mrn_observer->sees(c->call.nr, a, &result);
	errno = saved;
	if (made) {
		mrn_caught_return(c, result);
		return;
	}
	if (!memcmp(a, came, sizeof(a))) {
		do_call(c);
		return;
	}
	set_arguments(c->reg, a);
	c->call = mrn_call_read(c->reg[REG_RAX], a);
	do_call(c);
	if (!MRN_BROKEN(DISPATCH_OBSERVED))
		give_arguments_back(c, came);
}

static void caught(struct mrn_caught *c)
{
	long came[6];

	as_they_came(came, c->reg);
	c->call = mrn_call_read(c->reg[REG_RAX], came);
	mrn_caught_confine(&c->call);
	if (c->call.compat && x32_call(c))
		return;
	if (mrn_is_observed(c->call.nr) && !c->call.compat)
		observed_call(c, came);
	else
		do_call(c);
}

/*
 * True if there is a place for a frame. A signal that came on the program's stack shows that there is a stack. One on
 * an alternate stack does not: rsp may be any number, since a bare call needs no stack.
 */
static bool has_stack(const struct mrn_caught *c)
{
	static MRN_TLS uintptr_t known; /* the page of the last frame that was written */
	const uintptr_t frame = (uintptr_t)frame_of(c), in_page = ~(mrn_page_size() - 1);
	const uintptr_t last = frame + sizeof(struct mrn_frame) - 1;

	if (!mrn_handler_is_aside(c) || mrn_spare_frame(c) || MRN_BROKEN(DISPATCH_NO_STACK))
		return true;
	if ((frame & in_page) == known && (last & in_page) == known && !mrn_storage_is_shared)
		return true;
	if (!mrn_is_writable(frame, sizeof(struct mrn_frame)))
		return false;
	known = frame & in_page;
	return true;
}

/*
 * A call of a thread that was let go, and that arrives after another start: it is made again, and passes. If it comes
 * once more, it is for a dispatch of the program's.
 */
static bool is_late(const struct mrn_caught *c)
{
	static MRN_TLS uintptr_t made_again;
	static MRN_TLS uint32_t made_in;
	const uintptr_t at = (uintptr_t)c->reg[REG_RIP];
	const uint32_t era = __atomic_load_n(&mrn_dispatch_era, __ATOMIC_RELAXED);

	if (!mrn_armed_in || mrn_thread_has_lost())
		return false;
	if (made_again == at && made_in == era) {
		made_again = 0;
		return false;
	}
	made_again = at;
	made_in = era;
	return true;
}

void mrn_on_sigsys(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	struct mrn_caught c = {.reg = uc->uc_mcontext.gregs, .info = info, .context = uc};
	const bool by_dispatch = info->si_code == SYS_USER_DISPATCH &&
				 mrn_sigsys_is_of_a_call(info, c.reg);

	/* A thread that is not armed has a dispatch of the program's. */
	if (by_dispatch && !mrn_thread_is_armed() && is_late(&c)) {
		c.reg[REG_RIP] -= MRN_SYSCALL_INSTRUCTION;
		return;
	}
	if (!by_dispatch || !mrn_thread_is_armed() || mrn_thread_has_lost()) {
		mrn_foreign_sigsys(sig, info, uc);
		return;
	}
	mrn_sigsys_waits_no_more();
	/* One that another thread has kept for the process: as if it had come just before the call. */
	if (!mrn_sigsys_blocked && mrn_sigsys_any_kept()) {
		c.reg[REG_RIP] -= MRN_SYSCALL_INSTRUCTION;
		mrn_sigsys_give_kept(uc, false);
		return;
	}
	if (!mrn_dispatch_is_on())
		mrn_thread_disarm();
	__atomic_fetch_add(&mrn_handlers, 1, __ATOMIC_RELAXED);
	mrn_spare_look(&c);
	mrn_altstack_note(&c);
	end_what_is_left(&c);
	if (!has_stack(&c)) {
		/* Makes the call again, bare. */
		mrn_caught_lose();
		c.reg[REG_RIP] -= MRN_SYSCALL_INSTRUCTION;
	} else if (info->si_arch == AUDIT_ARCH_I386) {
		mrn_caught_int80(&c);
	} else {
		caught(&c);
	}
	if (!mrn_armed_in) {
		mrn_spare_leave(&c);
		mrn_sigsys_hand_over(uc);
		mrn_sigsys_blocked = 0;
	}
	__atomic_fetch_sub(&mrn_handlers, 1, __ATOMIC_RELAXED);
	if (mrn_armed_in && mrn_sigsys_any_kept())
		mrn_sigsys_give_kept(uc, c.interrupted);
}
