/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tries whether dispatch works here. Under an emulator like valgrind, a call that the kernel sends to our handler is
 * the emulator's, which kills it and the program. So one caught call is tried first, in a process of its own: made like
 * vfork's child, since that copies no page tables, however large this process is; with a stack, handlers and a mask of
 * its own. Its exit status is the answer, since an emulator may give it other memory.
 *
 * A tracer sees each SIGSYS and may swallow it: a traced thread is not caught. Nor is a program with ThreadSanitizer,
 * whose runtime holds locks around calls, and would be entered again in the handler.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "source/dispatch/check.h"
#include "os/pages.h"
#include "os/tasks.h"
#include "os/syscall.h"
#include "source/confined.h"
#include "source/dispatch/internal.h"

#define STACK_SIZE ((size_t)64 << 10)

/* Part of its runtime. */
void __tsan_init(void) __attribute__((weak));

/* The child's exit statuses; below them, prctl's errno. */
enum { NOT_CAUGHT = 200, CAUGHT };

/* The handler stores it as the call's result. */
#define ANSWER INT64_C(0x6d726e)

/* The child may be killed for any call: then it makes only those that count. */
static bool in_sandbox;
/* Of the attaching thread; below 0 if unknown. */
static long mode, filters;

/* The child never returns from its frames, and their stack is unmapped past the sanitizer. */
#define ON_ITS_STACK __attribute__((no_sanitize("address")))

ON_ITS_STACK static void on_caught(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	if (sig == SIGSYS && info->si_code == SYS_USER_DISPATCH && info->si_syscall == SYS_getpid)
		uc->uc_mcontext.gregs[REG_RAX] = ANSWER;
}

/* By an instruction that is not one of ours. */
ON_ITS_STACK static long bare_getpid(void)
{
	long r = SYS_getpid;

	__asm__ volatile("syscall" : "+a"(r) : : "rcx", "r11", "memory");
	return r;
}

ON_ITS_STACK static long one_caught_call(void)
{
	const struct mrn_sigaction action = {
		.handler = (void *)(uintptr_t)on_caught,
		.flags = SA_SIGINFO | MRN_SA_RESTORER,
		.restorer = (void *)(uintptr_t)mrn_stub_sigreturn,
		.mask = MRN_SIGNALS_BLOCKED,
	};
	const mrn_sigmask mask = MRN_SIGNALS_BLOCKED;
	static const uint8_t catches = SYSCALL_DISPATCH_FILTER_BLOCK;
	const struct rlimit none = {0, 0};
	long r;

	/* If it is killed, leave no core. */
	if (!in_sandbox)
		mrn_sys4(SYS_prlimit64, 0, RLIMIT_CORE, (long)&none, 0);
	r = mrn_sys4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, sizeof(mask));
	if (!r)
		r = mrn_sys4(SYS_rt_sigaction, SIGSYS, (long)&action, 0, sizeof(mask));
	if (!r)
		r = mrn_dispatch_set(&catches);
	if (r)
		return r < 0 ? -r : NOT_CAUGHT;
	return bare_getpid() == ANSWER ? CAUGHT : NOT_CAUGHT;
}

/* In the child, which shares this thread's storage: do not touch that. */
ON_ITS_STACK static void in_child(void)
{
	mrn_sys1(SYS_exit_group, one_caught_call());
}

/* Returns its status as wait does, or -errno. */
static int run_child(void)
{
	char *stack = mrn_pages_alloc(STACK_SIZE);
	int status = -1;
	long pid, r;

	if (!stack)
		return -ENOMEM;
	/* Without a signal at its end: no other wait returns it, except with __WALL. */
	/* If it may be killed it gets a copy: before Linux 5.16 its death could kill all who share the memory. */
	pid = mrn_clone_and_call(in_sandbox ? 0 : CLONE_VM | CLONE_VFORK, stack + STACK_SIZE,
				 in_child);
	r = pid;
	if (pid > 0)
		do
			r = mrn_sys4(SYS_wait4, pid, (long)&status, __WALL, 0);
		while (r == -EINTR);
	mrn_pages_free(stack, STACK_SIZE);
	return r < 0 ? (int)r : status;
}

static int try(char *why, size_t why_size)
{
	int status = run_child();

	/* Emulators refuse to make such a child. */
	if (status == -EINVAL || status == -ENOSYS)
		return -EOPNOTSUPP;
	if (status < 0)
		return status;
	if (WIFEXITED(status) && WEXITSTATUS(status) == CAUGHT)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) < NOT_CAUGHT) {
		int error = -WEXITSTATUS(status);

		/* A kernel without it says EINVAL. */
		return error == -EINVAL || error == -ENOSYS ? -EOPNOTSUPP : error;
	}
	snprintf(
		why, why_size,
		"dispatch does not work here: a caught call did not return in a trial process, as under "
		"valgrind or another emulator, or in a sandbox that kills for it");
	return -EOPNOTSUPP;
}

/* ------------------------------------------------------------------------------------------- tracers */

static int is_traced(long tid, const struct mrn_status *status, char *why, size_t why_size)
{
	/* Without /proc a tracer is not known; but debuggers need /proc, too. */
	if (status->tracer <= 0 || MRN_BROKEN(DISPATCH_TRACER))
		return 0;
	snprintf(
		why, why_size,
		"thread %ld is traced by process %ld, which would see each of its calls as a SIGSYS",
		tid, status->tracer);
	return -EBUSY;
}

/* More filters than this thread had at the trial. */
static int has_filters(long tid, const struct mrn_status *status, char *why, size_t why_size)
{
	if (status->seccomp <= mode && status->filters <= filters)
		return 0;
	snprintf(
		why, why_size,
		"thread %ld has a sandbox (seccomp) of its own, which may kill it when a call is caught",
		tid);
	return -EBUSY;
}

int mrn_thread_may_be_armed(long name, char *why, size_t why_size)
{
	struct mrn_status status;
	int r;

	if (mrn_task_status(name, &status))
		return 0;
	r = is_traced(name, &status, why, why_size);
	return r ? r : has_filters(name, &status, why, why_size);
}

/* -------------------------------------------------------------------------------------------- both */

int mrn_dispatch_try(char *why, size_t why_size)
{
	/* Also for forked children. Filters may have come since. */
	static bool has_worked;
	static const long needed[] = {
		SYS_rt_sigreturn, SYS_prctl,	 SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_clone,
		SYS_brk,	  SYS_wait4,	 SYS_openat,	   SYS_getdents64,     SYS_fstat,
		SYS_lseek,	  SYS_getrandom, SYS_newfstatat,   SYS_sigaltstack,
	};
	long lacking;
	long tid = mrn_sys0(SYS_gettid);
	struct mrn_status status;
	int r;

	if (__tsan_init) {
		snprintf(
			why, why_size,
			"dispatch cannot be used with ThreadSanitizer, whose runtime cannot be re-entered");
		return -EOPNOTSUPP;
	}
	/* If it cannot be read, nothing is known: see is_traced. */
	mrn_task_status(0, &status);
	r = is_traced(tid, &status, why, why_size);
	if (r)
		return r;
	mode = status.seccomp;
	filters = status.filters;
	in_sandbox = mode != 0;
	if ((has_worked && !in_sandbox) || MRN_BROKEN(DISPATCH_TRIAL))
		return 0;
	lacking = mrn_confined_lacks(needed, sizeof(needed) / sizeof(needed[0]));
	if (lacking >= 0) {
		snprintf(why, why_size,
			 "a sandbox (seccomp) refuses system call %ld, which dispatch needs",
			 lacking);
		return -EPERM;
	}
	r = try(why, why_size);
	has_worked = !r;
	return r;
}
