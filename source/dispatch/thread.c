/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arming: only a thread itself can. Those that are there when dispatch starts are asked to, one after the other, by a
 * signal that its handler knows; until a look at all of them has found none that was not armed. Then there is
 * nobody left who could make another that is not.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "core/check.h"
#include "os/futex.h"
#include "os/syscall.h"
#include "source/dispatch/internal.h"

/* Enough for a thread that has to be given a processor first; libc, too, blocks all signals now and then. */
#define PATIENCE_S 5
#define PASSES	   10000

static uint32_t answers; /* futex: threads that have answered */
static bool any_fresh;	 /* one of them had not been armed */
/* Written by the stub in which a new thread arms itself, too. */
MRN_TLS uint32_t mrn_armed_in;
MRN_TLS bool mrn_storage_is_shared;
static MRN_TLS uint32_t lost; /* who, of those that share the storage */

/*
 * In any case: a thread that is armed is under no filter that would refuse this, nor are those that it makes (leave.c); and whoever
 * attaches has asked before.
 */
long mrn_dispatch_set(const uint8_t *selector)
{
	return mrn_sys6(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH,
			selector ? PR_SYS_DISPATCH_ON : PR_SYS_DISPATCH_OFF,
			selector ? (long)__start_mrn_syscalls : 0,
			selector ? __stop_mrn_syscalls - __start_mrn_syscalls : 0, (long)selector,
			0);
}

int mrn_thread_arm(void)
{
	const uint32_t era = __atomic_load_n(&mrn_dispatch_era, __ATOMIC_RELAXED);
	long r = mrn_dispatch_set(&mrn_selector[era % SELECTORS]);

	if (!r) {
		mrn_armed_in = era;
		mrn_is_guest = 0;
	}
	/* A kernel that does not know it says EINVAL. */
	return r == -EINVAL || r == -ENOSYS ? -EOPNOTSUPP : (int)r;
}

void mrn_thread_disarm(void)
{
	if (!mrn_armed_in)
		return;
	/* A sandbox that nobody has seen may not let us: then it goes on. */
	if (mrn_dispatch_set(NULL))
		return;
	/* Who shares the storage is armed still, perhaps: its calls must not be taken for the program's own. */
	if (mrn_storage_is_shared)
		mrn_is_guest = 1;
	else
		mrn_armed_in = 0;
}

void mrn_thread_lose(void)
{
	if (mrn_storage_is_shared)
		lost = (uint32_t)mrn_sys0(SYS_gettid);
	mrn_thread_disarm();
}

bool mrn_thread_has_lost(void)
{
	return lost && lost == (uint32_t)mrn_sys0(SYS_gettid);
}

/*
 * Not SIGSYS: of that one there is no more than one pending, and a call that is caught while it is would be taken for
 * made.
 */
static void on_asked(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	if (info->si_code != SI_QUEUE || info->si_value.sival_ptr != &answers)
		return;
	if (!mrn_thread_is_armed()) {
		/* What it goes on with. */
		((mrn_sigmask *)&uc->uc_sigmask)[0] &= ~MRN_SIGSYS_BIT;
		mrn_thread_arm();
		__atomic_store_n(&any_fresh, true, __ATOMIC_RELAXED);
	}
	__atomic_fetch_add(&answers, 1, __ATOMIC_RELEASE);
	mrn_futex_wake(&answers, 1);
}

static long set_action(int sig, void *handler)
{
	struct mrn_sigaction action = {
		.handler = handler,
		.flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART | MRN_SA_RESTORER,
		.restorer = (void *)(uintptr_t)mrn_stub_sigreturn,
		.mask = MRN_SIGNALS_BLOCKED,
	};

	return mrn_sys4(SYS_rt_sigaction, sig, (long)&action, 0, sizeof(mrn_sigmask));
}

int mrn_signal_take(void (*handler)(int, siginfo_t *, void *))
{
	for (int sig = SIGRTMAX; sig >= SIGRTMIN; sig--) {
		struct mrn_sigaction was;

		if (mrn_sys4(SYS_rt_sigaction, sig, 0, (long)&was, sizeof(mrn_sigmask)) == 0 &&
		    was.handler == (void *)(uintptr_t)SIG_DFL)
			return set_action(sig, (void *)(uintptr_t)handler) ? 0 : sig;
	}
	return 0;
}

void mrn_signal_give_back(int sig)
{
	/* To be ignored first: that drops those that have been sent twice. */
	set_action(sig, (void *)(uintptr_t)SIG_IGN);
	set_action(sig, (void *)(uintptr_t)SIG_DFL);
}

void mrn_dispatch_join(void)
{
	if (mrn_thread_is_armed() || !mrn_dispatch_is_on())
		return;
	if (mrn_is_refused(SYS_prctl) || mrn_thread_arm())
		mrn_thread_is_not_armed();
}

/* ------------------------------------------------------------------------------------ all the others */

int mrn_thread_about(long tid, const char *file, char *into, size_t size)
{
	char path[64];
	long fd, n;

	snprintf(path, sizeof(path), "/proc/self/task/%ld/%s", tid, file);
	fd = mrn_sys4(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return (int)fd;
	n = mrn_sys3(SYS_read, fd, (long)into, (long)(size - 1));
	mrn_sys1(SYS_close, fd);
	if (n < 0)
		return (int)n;
	into[n] = '\0';
	return 0;
}

#define KERNELS_OWN 0x4010ul /* PF_IO_WORKER, PF_USER_WORKER: io_uring's, which make no calls */

static bool is_the_kernels(long tid)
{
	char stat[512], *p;
	unsigned long flags;

	if (mrn_thread_about(tid, "stat", stat, sizeof(stat)))
		return false;
	p = strrchr(stat, ')');
	return p && sscanf(p, ") %*c %*d %*d %*d %*d %*d %lu", &flags) == 1 &&
	       (flags & KERNELS_OWN);
}

bool mrn_thread_blocks(long tid, int sig)
{
	char status[4096], *p;

	if (mrn_thread_about(tid, "status", status, sizeof(status)))
		return false;
	p = strstr(status, "\nSigBlk:");
	return p && (strtoull(p + sizeof("\nSigBlk:") - 1, NULL, 16) >> (sig - 1) & 1);
}

static struct timespec now_plus(long ns)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += ns;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

long mrn_signal_send(long tid, int sig, void *value)
{
	siginfo_t info = {.si_signo = sig, .si_code = SI_QUEUE};

	info.si_pid = (pid_t)mrn_sys0(SYS_getpid);
	info.si_uid = (uid_t)mrn_sys0(SYS_getuid);
	info.si_value.sival_ptr = value;
	return mrn_sys4(SYS_rt_tgsigqueueinfo, info.si_pid, tid, sig, (long)&info);
}

static int gave_up_on(long tid, int sig, char *why, size_t why_size)
{
	if (mrn_thread_blocks(tid, sig)) {
		snprintf(why, why_size, "thread %ld blocks all signals, so it cannot be armed",
			 tid);
		return -EBUSY;
	}
	snprintf(why, why_size, "thread %ld does not answer", tid);
	return -ETIMEDOUT;
}

/* Asks until there is an answer, and anew, for the number may have become another thread's. */
static int ask(long tid, int sig, char *why, size_t why_size)
{
	uint32_t before = __atomic_load_n(&answers, __ATOMIC_RELAXED);
	const struct timespec start = now_plus(0);
	struct timespec until;

	while (__atomic_load_n(&answers, __ATOMIC_ACQUIRE) == before) {
		long r = mrn_signal_send(tid, sig, &answers);

		/* It may just have begun. */
		if (mrn_is_own_thread(tid))
			return 0;
		if (r == -ESRCH) {
			/* It has ended, and may have made another thread before. */
			__atomic_store_n(&any_fresh, true, __ATOMIC_RELAXED);
			return 0;
		}
		if (r)
			return (int)r;
		until = now_plus(10000000);
		if (until.tv_sec > start.tv_sec + PATIENCE_S)
			return gave_up_on(tid, sig, why, why_size);
		mrn_futex_wait(&answers, before, &until);
	}
	return 0;
}

/*
 * Without a folder, as where there is no /proc or no descriptor left, by asking of each number that there can be: that takes a
 * second.
 */
long mrn_next_thread(void *tasks, long tid)
{
	const long top = 1 << 22; /* the kernel's PID_MAX_LIMIT */
	long pid = mrn_sys0(SYS_getpid);
	struct dirent *task;

	if (!tasks) {
		while (++tid <= top)
			if (!mrn_sys3(SYS_tgkill, pid, tid, 0))
				return tid;
		return 0;
	}
	while ((task = readdir(tasks))) {
		tid = strtol(task->d_name, NULL, 10);
		if (tid > 0)
			return tid;
	}
	return 0;
}

/* The other threads that there are, each once. */
static int ask_all(int sig, char *why, size_t why_size)
{
	long self = mrn_sys0(SYS_gettid), tid = 0;
	DIR *tasks = opendir("/proc/self/task");
	int r = 0;

	while (!r && (tid = mrn_next_thread(tasks, tid))) {
		if (tid == self || mrn_is_own_thread(tid) || is_the_kernels(tid))
			continue;
		r = mrn_thread_is_traced(tid, why, why_size);
		if (!r)
			r = ask(tid, sig, why, why_size);
	}
	if (tasks)
		closedir(tasks);
	return r;
}

static int ask_until_all_are_armed(int sig, char *why, size_t why_size)
{
	for (int pass = 0; pass < PASSES; pass++) {
		int r;

		__atomic_store_n(&any_fresh, false, __ATOMIC_RELAXED);
		r = ask_all(sig, why, why_size);
		if (r || !__atomic_load_n(&any_fresh, __ATOMIC_ACQUIRE))
			return r;
	}
	snprintf(why, why_size, "threads come and go faster than they can be armed");
	return -ETIMEDOUT;
}

int mrn_threads_arm(char *why, size_t why_size)
{
	int sig, r;

	if (MRN_BROKEN(DISPATCH_ASK))
		return 0;
	sig = mrn_signal_take(on_asked);
	if (!sig) {
		snprintf(why, why_size,
			 "all real-time signals are in use, so threads cannot be asked");
		return -EBUSY;
	}
	r = ask_until_all_are_armed(sig, why, why_size);
	mrn_signal_give_back(sig);
	return r;
}
