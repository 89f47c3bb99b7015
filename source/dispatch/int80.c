/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * int $0x80 in a 64-bit program: i386's system calls, with its numbers, and arguments of 32 bits. Those that change memory
 * are bracketed as what they are on x86-64, and made as they came. All others go on. Those that end what dispatch knows, a thread or
 * process that nobody arms, exec, which nobody announces, and dispatch given away, end the coverage. So do those that might
 * block SIGSYS, take it, or take away where it is handled: their masks and actions are in forms of their own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>

#include "os/syscall.h"
#include "source/dispatch/check.h"
#include "source/bracket/held.h"
#include "source/dispatch/internal.h"

#include "os/event_path.h"

/* asm/unistd_32.h cannot be had beside x86-64's. */
enum {
	I386_FORK = 2,
	I386_OPEN = 5,
	I386_CREAT = 8,
	I386_EXECVE = 11,
	I386_SIGNAL = 48,
	I386_SIGACTION = 67,
	I386_SSETMASK = 69,
	I386_SIGSUSPEND = 72,
	I386_PTRACE = 26,
	I386_BRK = 45,
	I386_IOCTL = 54,
	I386_MMAP = 90,
	I386_MUNMAP = 91,
	I386_TRUNCATE = 92,
	I386_FTRUNCATE = 93,
	I386_IPC = 117,
	I386_CLONE = 120,
	I386_MODIFY_LDT = 123,
	I386_MPROTECT = 125,
	I386_SIGPROCMASK = 126,
	I386_MREMAP = 163,
	I386_PRCTL = 172,
	I386_RT_SIGACTION = 174,
	I386_RT_SIGPROCMASK = 175,
	I386_RT_SIGSUSPEND = 179,
	I386_SIGALTSTACK = 186,
	I386_VFORK = 190,
	I386_MMAP2 = 192,
	I386_TRUNCATE64 = 193,
	I386_FTRUNCATE64 = 194,
	I386_MADVISE = 219,
	I386_SET_THREAD_AREA = 243,
	I386_IO_DESTROY = 246,
	I386_REMAP_FILE_PAGES = 257,
	I386_OPENAT = 295,
	I386_PSELECT6 = 308,
	I386_PPOLL = 309,
	I386_EPOLL_PWAIT = 319,
	I386_FALLOCATE = 324,
	I386_OPEN_BY_HANDLE_AT = 342,
	I386_SECCOMP = 354,
	I386_EXECVEAT = 358,
	I386_GETSOCKOPT = 365,
	I386_PKEY_MPROTECT = 380,
	I386_SHMAT = 397,
	I386_SHMDT = 398,
	I386_CLONE3 = 435,
	I386_PSELECT6_TIME64 = 413,
	I386_PPOLL_TIME64 = 414,
	I386_OPENAT2 = 437,
	I386_PROCESS_MADVISE = 440,
};
#define IPC_SHMAT     21
#define IPC_SHMDT     22
#define PAGE_OF_MMAP2 4096

static uint64_t join(uint64_t low, uint64_t high)
{
	return low | high << 32;
}

static bool from_ipc(struct mrn_call *c, const uint64_t *arg)
{
	switch (arg[0] & 0xffff) {
	case IPC_SHMAT:
		*c = (struct mrn_call){SYS_shmat, {(int)arg[1], (long)arg[4], (int)arg[2]}};
		return true;
	case IPC_SHMDT:
		*c = (struct mrn_call){SYS_shmdt, {(long)arg[4]}};
		return true;
	default:
		return false;
	}
}

static bool from_old_mmap(struct mrn_call *c, const uint64_t *arg)
{
	uint32_t six[6];

	if (mrn_program_read(six, arg[0], sizeof(six)))
		return false;
	*c = (struct mrn_call){SYS_mmap, {six[0], six[1], six[2], six[3], (int)six[4], six[5]}};
	return true;
}

/* What it is on x86-64, if it changes memory, or forbids calls. arg: ebx and on. */
static bool translate(struct mrn_call *c, long nr, const uint64_t *arg)
{
	const long a = (long)arg[0], b = (long)arg[1], d = (long)arg[2], e = (long)arg[3];

	switch (nr) {
	case I386_BRK:
		*c = (struct mrn_call){SYS_brk, {a}};
		break;
	case I386_MMAP:
		return from_old_mmap(c, arg);
	case I386_MMAP2:
		*c = (struct mrn_call){SYS_mmap,
				       {a, b, d, e, (int)arg[4], (long)arg[5] * PAGE_OF_MMAP2}};
		break;
	case I386_MUNMAP:
		*c = (struct mrn_call){SYS_munmap, {a, b}};
		break;
	case I386_MREMAP:
		*c = (struct mrn_call){SYS_mremap, {a, b, d, e, (long)arg[4]}};
		break;
	case I386_MPROTECT:
		*c = (struct mrn_call){SYS_mprotect, {a, b, d}};
		break;
	case I386_PKEY_MPROTECT:
		*c = (struct mrn_call){SYS_pkey_mprotect, {a, b, d, e}};
		break;
	case I386_MADVISE:
		*c = (struct mrn_call){SYS_madvise, {a, b, (int)d}};
		break;
	case I386_REMAP_FILE_PAGES:
		*c = (struct mrn_call){SYS_remap_file_pages, {a, b, d, e, (long)arg[4]}};
		break;
	case I386_IPC:
		return from_ipc(c, arg);
	case I386_SHMAT:
		*c = (struct mrn_call){SYS_shmat, {(int)a, b, (int)d}};
		break;
	case I386_SHMDT:
		*c = (struct mrn_call){SYS_shmdt, {a}};
		break;
	case I386_TRUNCATE:
		*c = (struct mrn_call){SYS_truncate, {a, (int)b}};
		break;
	case I386_TRUNCATE64:
		*c = (struct mrn_call){SYS_truncate, {a, (long)join(arg[1], arg[2])}};
		break;
	case I386_FTRUNCATE:
		*c = (struct mrn_call){SYS_ftruncate, {(int)a, (int)b}};
		break;
	case I386_FTRUNCATE64:
		*c = (struct mrn_call){SYS_ftruncate, {(int)a, (long)join(arg[1], arg[2])}};
		break;
	case I386_FALLOCATE:
		*c = (struct mrn_call){SYS_fallocate,
				       {(int)a, (int)b, (long)join(arg[2], arg[3]),
					(long)join(arg[4], arg[5])}};
		break;
	case I386_IOCTL:
		*c = (struct mrn_call){SYS_ioctl, {(int)a, b, d}};
		break;
	case I386_PRCTL:
		*c = (struct mrn_call){SYS_prctl, {(int)a, b, d, e, (long)arg[4]}, true};
		break;
	case I386_IO_DESTROY:
		*c = (struct mrn_call){SYS_io_destroy, {a}};
		break;
	case I386_GETSOCKOPT:
		*c = (struct mrn_call){SYS_getsockopt, {(int)a, (int)b, (int)d, e}};
		break;
	case I386_OPEN:
		*c = (struct mrn_call){SYS_open, {a, (int)b}};
		break;
	case I386_CREAT:
		*c = (struct mrn_call){SYS_creat, {a}};
		break;
	case I386_OPENAT:
		*c = (struct mrn_call){SYS_openat, {(int)a, b, (int)d}};
		break;
	case I386_OPEN_BY_HANDLE_AT:
		*c = (struct mrn_call){SYS_open_by_handle_at, {(int)a, b, (int)d}};
		break;
	case I386_PROCESS_MADVISE:
		/* Its ranges are in a form of their own. */
		*c = (struct mrn_call){SYS_process_madvise,
				       {(int)a, b, d, (int)e, (long)arg[4]},
				       true};
		break;
	case I386_SECCOMP:
		*c = (struct mrn_call){SYS_seccomp, {a, b, d}, true};
		break;
	case I386_OPENAT2:
		*c = (struct mrn_call){SYS_openat2, {(int)a, b, d}};
		break;
	default:
		return false;
	}
	return true;
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
	mrn_held_end(held);
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
	case I386_RT_SIGACTION:
	case I386_SIGACTION:
		all = arg[1];
		break;
	case I386_SIGNAL:
		all = true;
		break;
	case I386_SIGALTSTACK:
		thread = arg[0];
		break;
	case I386_RT_SIGPROCMASK:
	case I386_SIGPROCMASK:
		thread = arg[1];
		break;
	case I386_PPOLL:
	case I386_PPOLL_TIME64:
		thread = arg[3];
		break;
	case I386_EPOLL_PWAIT:
		thread = arg[4];
		break;
	case I386_PSELECT6:
	case I386_PSELECT6_TIME64:
		thread = arg[5];
		break;
	case I386_RT_SIGSUSPEND:
	case I386_SET_THREAD_AREA:
	case I386_SIGSUSPEND:
	case I386_SSETMASK:
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

/* Before the call: what is not seen from then on. arg: ebx and on. */
static void look_ahead(uint64_t nr, const uint64_t *arg)
{
	switch (nr) {
	case I386_CLONE:
	case I386_CLONE3:
	case I386_EXECVE:
	case I386_EXECVEAT:
	case I386_FORK:
	case I386_VFORK:
		mrn_thread_is_not_armed();
		break;
	case I386_PRCTL:
		if (arg[0] == PR_SET_SYSCALL_USER_DISPATCH)
			mrn_caught_own_dispatch(
				&(struct mrn_call){SYS_prctl, {(long)arg[0], (long)arg[1]}});
		mrn_caught_names_tracer(
			&(struct mrn_call){SYS_prctl, {(long)arg[0], (long)arg[1]}});
		break;
	case I386_PTRACE:
		if (arg[0] == PTRACE_TRACEME)
			mrn_caught_lose();
		break;
	case I386_MODIFY_LDT:
		mrn_caught_writes_ldt(&(struct mrn_call){SYS_modify_ldt, {(long)arg[0]}});
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
	int saved = errno;
	struct mrn_call call;
	bool is_known;

	look_ahead(came[0], came + 1);
	as_it_came = came;
	is_known = translate(&call, (long)came[0], came + 1);
	if (is_known)
		mrn_caught_confine(&call);
	if (!is_known || !make_here(c, &call))
		go_on(c);
	errno = saved;
}
