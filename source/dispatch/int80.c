/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * int $0x80 in a 64-bit program: i386's system calls, with their own numbers, and arguments of 32 bits. Those that
 * change memory are bracketed like x86-64's, and made as they came. All others go on. Those that dispatch cannot follow
 * end the coverage: making a thread or process, which nobody arms; exec, which nobody announces; and giving dispatch
 * away. So do those that might block SIGSYS, or take it or its stack away: their masks and actions are in forms of
 * their own. A call that makes a ring is noted.
 */
#include <errno.h>
#include <linux/prctl.h>
#include <string.h>
#include <sys/ptrace.h>

#include "os/syscall.h"
#include "source/dispatch/check.h"
#include "source/bracket/held.h"
#include "source/dispatch/internal.h"

#include "os/event_path.h"

/* asm/unistd_32.h cannot be included beside x86-64's. */
enum {
#define CALL(name, i386, narrow) I386_##name = i386,
#define I386(name, number)	 I386_##name = number,
#include "source/bracket/calls.def"
};
#define IPC_SHMAT     21
#define IPC_SHMDT     22
#define PAGE_OF_MMAP2 4096

static long join(uint64_t low, uint64_t high)
{
	return (long)(low | high << 32);
}

/* x86-64's number; -1 for a call that the library does not look at. */
static long number_of(uint64_t nr)
{
	switch (nr) {
#define CALL(name, i386, narrow) \
	case I386_##name:        \
		return SYS_##name;
#include "source/bracket/calls.def"
	default:
		return -1;
	}
}

static long from_ipc(long *a)
{
	const long id = a[1], flags = a[2], addr = a[4];

	switch (a[0] & 0xffff) {
	case IPC_SHMAT:
		a[0] = id;
		a[1] = addr;
		a[2] = flags;
		return SYS_shmat;
	case IPC_SHMDT:
		a[0] = addr;
		return SYS_shmdt;
	default:
		return -1;
	}
}

static long from_old_mmap(long *a)
{
	uint32_t six[6];

	if (mrn_program_read(six, (uint64_t)a[0], sizeof(six)))
		return -1;
	for (unsigned int i = 0; i < 6; i++)
		a[i] = six[i];
	return SYS_mmap;
}

/* The call as x86-64's; nr is below 0 if the library does not look at it. arg: ebx and on. */
static struct mrn_call translate(uint64_t nr, const uint64_t *arg)
{
	long a[6], is = number_of(nr);
	struct mrn_call call;

	memcpy(a, arg, sizeof(a));
	switch (nr) {
	case I386_mmap:
		is = from_old_mmap(a);
		break;
	case I386_mmap2:
		is = SYS_mmap;
		a[5] *= PAGE_OF_MMAP2;
		break;
	case I386_ipc:
		is = from_ipc(a);
		break;
	case I386_execve:
	case I386_execveat:
		/* Passed on without an announcement: look_ahead ends the coverage. */
		is = -1;
		break;
	case I386_truncate:
	case I386_ftruncate:
		a[1] = (int)a[1];
		break;
	case I386_truncate64:
		is = SYS_truncate;
		a[1] = join(arg[1], arg[2]);
		break;
	case I386_ftruncate64:
		is = SYS_ftruncate;
		a[1] = join(arg[1], arg[2]);
		break;
	case I386_fallocate:
		a[2] = join(arg[2], arg[3]);
		a[3] = join(arg[4], arg[5]);
		break;
	case I386_openat2:
		/* The call is made as it came, so its structure may change after our look: treat it as unreadable. */
		a[3] = 0;
		break;
	default:
		break;
	}
	call = mrn_call_read(is, a);
	call.compat = true;
	return call;
}

/* ------------------------------------------------------------------------------------- making it */

static MRN_TLS const uint64_t *as_it_came;

static long make(long nr, long a, long b, long c, long d, long e, long f)
{
	return mrn_int80(as_it_came);
}

/* False: it changes nothing, and goes on. */
static bool make_bracketed(const struct mrn_call *c, long *r)
{
	enum mrn_call_kind kind = mrn_call_kind(c);
	struct mrn_file_change change;
	struct mrn_held *held;

	if (kind == MRN_CALL_OTHER)
		return false;
	if (kind == MRN_CALL_MEMORY) {
		*r = mrn_bracket_number(make, c, c->nr, c->a);
		return true;
	}
	mrn_file_change_number(&change, c);
	if (!change.pending)
		return false;
	held = mrn_held_start(&change, (uintptr_t)__builtin_frame_address(0));
	*r = mrn_int80(as_it_came);
	mrn_held_end(held, mrn_sys_failed(*r));
	return true;
}

static bool make_here(struct mrn_caught *c, const struct mrn_call *call)
{
	long r;

	if (mrn_call_kind(call) == MRN_CALL_MEMORY) {
		mrn_caught_takes_anothers_stack(call);
		if (mrn_caught_takes_own_stack(c, call))
			return true;
	}
	if (!make_bracketed(call, &r))
		return false;
	mrn_caught_own_stack_taken(c, call, r);
	c->reg[REG_RAX] = r;
	return true;
}

static void go_on(struct mrn_caught *c)
{
	uint64_t segments = (uint64_t)c->reg[REG_CSGSFS];
	struct mrn_frame *f = mrn_caught_resume(c, mrn_stub_int80);

	f->more[0] = f->rip;
	f->more[1] = segments & 0xffff;
	f->more[2] = f->flags;
	f->more[3] = f->rsp;
	f->more[4] = segments >> 48;
}

static void look_at_signals(uint64_t nr, const uint64_t *arg)
{
	bool thread = false, all = false;

	switch (nr) {
	case I386_rt_sigaction:
	case I386_sigaction:
		all = arg[1];
		break;
	case I386_signal:
		all = true;
		break;
	case I386_sigaltstack:
		thread = arg[0];
		break;
	case I386_rt_sigprocmask:
	case I386_sigprocmask:
		thread = arg[1];
		break;
	case I386_ppoll:
	case I386_ppoll_time64:
		thread = arg[3];
		break;
	case I386_epoll_pwait:
	case I386_epoll_pwait2:
		thread = arg[4];
		break;
	case I386_io_uring_enter:
		thread = arg[4] || (arg[3] & IORING_ENTER_EXT_ARG_REG);
		break;
	case I386_io_pgetevents:
	case I386_io_pgetevents_time64:
	case I386_pselect6:
	case I386_pselect6_time64:
		thread = arg[5];
		break;
	case I386_rt_sigsuspend:
	case I386_rt_sigreturn:
	case I386_set_thread_area:
	case I386_sigreturn:
	case I386_sigsuspend:
	case I386_ssetmask:
		thread = true;
		break;
	default:
		break;
	}
	if (MRN_BROKEN(DISPATCH_MASKS))
		return;
	if (all)
		mrn_all_leave();
	else if (thread)
		mrn_caught_lose();
}

/* Before the call: what cannot be seen from then on. arg: from ebx on. */
static void look_ahead(uint64_t nr, const struct mrn_call *call, const uint64_t *arg)
{
	switch (nr) {
	case I386_clone:
	case I386_clone3:
	case I386_execve:
	case I386_execveat:
	case I386_fork:
	case I386_vfork:
		mrn_thread_is_not_armed();
		break;
	case I386_prctl:
		if (call->a[0] == PR_SET_SYSCALL_USER_DISPATCH)
			mrn_caught_own_dispatch(call);
		mrn_caught_names_tracer(call);
		break;
	case I386_ptrace:
		if (call->a[0] == PTRACE_TRACEME)
			mrn_caught_lose();
		break;
	case I386_io_uring_setup:
		mrn_ring_is_made();
		break;
	case I386_modify_ldt:
		mrn_caught_writes_ldt(call);
		break;
	default:
		look_at_signals(nr, arg);
		break;
	}
}

void mrn_caught_int80(struct mrn_caught *c)
{
	const greg_t *reg = c->reg;
	const uint64_t came[7] = {(uint32_t)reg[REG_RAX], (uint32_t)reg[REG_RBX],
				  (uint32_t)reg[REG_RCX], (uint32_t)reg[REG_RDX],
				  (uint32_t)reg[REG_RSI], (uint32_t)reg[REG_RDI],
				  (uint32_t)reg[REG_RBP]};
	const int saved = errno;
	const struct mrn_call call = translate(came[0], came + 1);

	as_it_came = came;
	look_ahead(came[0], &call, came + 1);
	mrn_caught_confine(&call);
	if (!make_here(c, &call))
		go_on(c);
	errno = saved;
}
