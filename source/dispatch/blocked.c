/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A SIGSYS that the program blocks. The kernel is never told to block it, since the next caught call would kill the
 * process; so a SIGSYS that somebody sends comes here all the same. It is kept, and delivered when the program unblocks
 * it or asks for it: one for each thread and one for the process, as the kernel keeps them.
 *
 * The process's own SIGSYS the kernel would give to a thread that does not block it, or waits for it. Here a waiting
 * thread is told; any other takes it at its next call.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "os/atomic.h"
#include "os/syscall.h"
#include "source/dispatch/check.h"
#include "source/dispatch/internal.h"

#include "os/event_path.h"

enum { NONE, BUSY, FULL };

/*
 * The siginfo of a sent signal has no more than this: the sender, and a value. Kept short, since thread-local storage
 * shares the stack, which may be as small as libc permits.
 */
#define KEPT_OF_INFO (offsetof(siginfo_t, si_value) + sizeof(union sigval))

/* Written where another signal may come in between: state is atomic. */
struct kept {
	uint32_t state;
	_Alignas(siginfo_t) char info[KEPT_OF_INFO];
};

#define NR_WAITING 8

MRN_TLS uint32_t mrn_sigsys_blocked;
/* Threads that wait for one: their numbers, or 0. If there are more, some are not told. */
static uint32_t waiting[NR_WAITING];
static MRN_TLS uint32_t *waits;
static MRN_TLS struct kept threads;
static struct kept processes;

static bool is_full(const struct kept *k)
{
	return __atomic_load_n(&k->state, __ATOMIC_RELAXED) == FULL;
}

static bool become_busy(struct kept *k, uint32_t from)
{
	return __atomic_compare_exchange_n(&k->state, &from, BUSY, false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

static void put(struct kept *k, const siginfo_t *info)
{
	/* One is kept already: the kernel, too, keeps no more. */
	if (!become_busy(k, NONE))
		return;
	memcpy(k->info, info, sizeof(k->info));
	__atomic_store_n(&k->state, FULL, __ATOMIC_RELEASE);
}

static bool take(struct kept *k, siginfo_t *info)
{
	if (!become_busy(k, FULL))
		return false;
	memset(info, 0, sizeof(*info));
	memcpy(info, k->info, sizeof(k->info));
	__atomic_store_n(&k->state, NONE, __ATOMIC_RELEASE);
	return true;
}

bool mrn_sigsys_any_kept(void)
{
	return is_full(&threads) || is_full(&processes);
}

bool mrn_sigsys_take_kept(siginfo_t *info)
{
	return take(&threads, info) || take(&processes, info);
}

void mrn_sigsys_forget_kept(void)
{
	__atomic_store_n(&threads.state, NONE, __ATOMIC_RELAXED);
	__atomic_store_n(&processes.state, NONE, __ATOMIC_RELAXED);
	for (size_t i = 0; i < NR_WAITING; i++)
		__atomic_store_n(&waiting[i], 0, __ATOMIC_RELAXED);
	waits = NULL;
}

static long send(uint32_t tid, siginfo_t *info)
{
	return mrn_sys4(SYS_rt_tgsigqueueinfo, mrn_sys0(SYS_getpid), tid, SIGSYS, (long)info);
}

/*
 * A thread that waits says so first, then looks for a kept one; a thread that keeps one looks for waiting ones
 * afterwards.
 */
static void begin_to_wait(void)
{
	const uint32_t tid = (uint32_t)mrn_sys0(SYS_gettid);

	for (size_t i = 0; i < NR_WAITING && !waits; i++) {
		uint32_t nobody = 0;

		if (__atomic_compare_exchange_n(&waiting[i], &nobody, tid, false, __ATOMIC_SEQ_CST,
						__ATOMIC_RELAXED))
			waits = &waiting[i];
	}
	mrn_fence_full();
}

void mrn_sigsys_waits_no_more(void)
{
	if (!waits)
		return;
	__atomic_store_n(waits, 0, __ATOMIC_RELAXED);
	waits = NULL;
}

static void tell_who_waits(void)
{
	siginfo_t info;

	mrn_fence_full();
	for (size_t i = 0; i < NR_WAITING; i++) {
		const uint32_t tid = __atomic_load_n(&waiting[i], __ATOMIC_RELAXED);

		if (!tid || !take(&processes, &info))
			continue;
		if (!send(tid, &info))
			return;
		put(&processes, &info);
	}
}

void mrn_sigsys_hand_over(ucontext_t *context)
{
	const mrn_sigmask sigsys = MRN_SIGSYS_BIT;
	siginfo_t info;

	if (!mrn_sigsys_blocked)
		return;
	mrn_sys4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&sigsys, 0, sizeof(sigsys));
	if (context)
		((mrn_sigmask *)&context->uc_sigmask)[0] |= sigsys;
	if (mrn_sigsys_take_kept(&info))
		send((uint32_t)mrn_sys0(SYS_gettid), &info);
}

/* ------------------------------------------------------------------------------------------------ calls */

/* The frame of a thread that goes on there, or has just come back from the kernel. */
static struct mrn_frame *frame_of_call(const greg_t *reg)
{
	const char *rip = (const char *)reg[REG_RIP];

	return rip == mrn_stub_resume || rip == mrn_stub_resume + MRN_SYSCALL_INSTRUCTION
		       ? (struct mrn_frame *)reg[REG_RSP]
		       : NULL;
}

bool mrn_sigsys_is_blocked(const ucontext_t *context)
{
	const struct mrn_frame *f;

	/* If threads share the storage, this word may be wrong for either. */
	if (!mrn_thread_is_armed() || mrn_storage_is_shared || MRN_BROKEN(DISPATCH_KEPT))
		return false;
	f = frame_of_call(context->uc_mcontext.gregs);
	return f ? f->call & CALL_BLOCKS_SIGSYS : mrn_sigsys_blocked;
}

/* Makes the registers what they were before the call. */
static void make_again(greg_t *reg, const struct mrn_frame *f)
{
	reg[REG_RAX] = (int32_t)f->call;
	reg[REG_RDI] = (greg_t)f->rdi;
	reg[REG_RSI] = (greg_t)f->rsi;
	reg[REG_RDX] = (greg_t)f->rdx;
	reg[REG_R10] = (greg_t)f->r10;
	reg[REG_R8] = (greg_t)f->r8;
	reg[REG_R9] = (greg_t)f->r9;
	reg[REG_RIP] = (greg_t)f->rip - MRN_SYSCALL_INSTRUCTION;
	reg[REG_RSP] = (greg_t)f->rsp;
}

/* The call was interrupted by a signal that the program blocks: makes it go on, a sleep with the rest of its time. */
static void go_on_with(greg_t *reg, const struct mrn_frame *f)
{
	reg[REG_RAX] = (int32_t)f->call;
	reg[REG_RIP] = (greg_t)(uintptr_t)mrn_stub_resume;
	if (reg[REG_RAX] == SYS_nanosleep && reg[REG_RSI])
		reg[REG_RDI] = reg[REG_RSI];
	if (reg[REG_RAX] == SYS_clock_nanosleep && reg[REG_R10] && !(reg[REG_RSI] & TIMER_ABSTIME))
		reg[REG_RDX] = reg[REG_R10];
}

void mrn_sigsys_keep(const siginfo_t *info, ucontext_t *context)
{
	greg_t *reg = context->uc_mcontext.gregs;
	const struct mrn_frame *f = frame_of_call(reg);

	mrn_sigsys_waits_no_more();
	if (info->si_code == SI_TKILL) {
		put(&threads, info);
	} else {
		put(&processes, info);
		tell_who_waits();
	}
	/* A call that has not begun may ask for this signal. */
	if (f && reg[REG_RIP] == (greg_t)(uintptr_t)mrn_stub_resume)
		make_again(reg, f);
	else if (f && reg[REG_RAX] == -EINTR)
		go_on_with(reg, f);
}

void mrn_caught_sleep(struct mrn_caught *c, int rest)
{
	const bool nobody_asks = mrn_sigsys_blocked && !c->reg[rest];
	struct mrn_frame *f = mrn_caught_resume(c, mrn_stub_resume);

	_Static_assert(sizeof(struct timespec) <= sizeof(f->more), "it has room in a frame");
	if (nobody_asks)
		c->reg[rest] = (greg_t)(uintptr_t)f->more;
}

void mrn_caught_sigpending(struct mrn_caught *c)
{
	const uint64_t size = (uint64_t)c->reg[REG_RSI];
	const mrn_sigmask blocked = mrn_sigsys_mask(c);
	mrn_sigmask pending = 0;
	long r;

	/* In the handler all signals are blocked: use the program's mask. */
	r = mrn_sys6(SYS_rt_sigpending, (long)&pending, (long)size, 0, 0, 0, 0);
	if (!r) {
		pending &= blocked;
		if ((blocked & MRN_SIGSYS_BIT) && mrn_sigsys_any_kept())
			pending |= MRN_SIGSYS_BIT;
		r = mrn_program_write((uint64_t)c->reg[REG_RDI], &pending, size);
	}
	mrn_caught_return(c, r);
}

void mrn_caught_sigwait(struct mrn_caught *c)
{
	const uint64_t into = (uint64_t)c->reg[REG_RSI];
	siginfo_t info;
	mrn_sigmask set;

	if (c->reg[REG_R10] == sizeof(set) &&
	    !mrn_program_read(&set, (uint64_t)c->reg[REG_RDI], sizeof(set)) &&
	    (set & MRN_SIGSYS_BIT) && !MRN_BROKEN(DISPATCH_KEPT)) {
		begin_to_wait();
		if (mrn_sigsys_take_kept(&info)) {
			mrn_sigsys_waits_no_more();
			mrn_caught_return(c, into && mrn_program_write(into, &info, sizeof(info))
						     ? -EFAULT
						     : SIGSYS);
			return;
		}
	}
	mrn_caught_resume(c, mrn_stub_resume);
}
