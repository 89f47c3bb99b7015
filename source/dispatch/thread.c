/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arming: only a thread itself can do it. Dispatch asks the threads that exist when it starts, one after the other, by
 * a signal (ask.c), until a pass over all of them finds none that was not armed. Then no thread is left that could make
 * an unarmed one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "os/syscall.h"
#include "os/tasks.h"
#include "source/dispatch/check.h"
#include "source/dispatch/internal.h"

/* Long enough for a thread that has to be scheduled first; libc, too, blocks all signals now and then. */
#define PATIENCE_S 5
#define PASSES	   10000
/* A thread's alternate stack is too small, so it cannot be armed. */
#define NO_ROOM (-ENOBUFS)

static bool any_fresh; /* a thread that answered had not been armed */
static int failed;     /* why a thread could not be: 0 or -errno */
/* Also written by the stub in which a new thread arms itself. */
MRN_TLS uint32_t mrn_armed_in;
MRN_TLS bool mrn_storage_is_shared;
/* Number of the thread with this storage that an attach armed. */
static MRN_TLS uint32_t armed_at_attach;
static MRN_TLS uint32_t lost; /* the thread with this storage that gave its dispatch up */

/*
 * The filters allow this: an armed thread, and those that it makes, are under no filter that refuses it (leave.c); and
 * an attach has asked before.
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
	const uint32_t was = mrn_armed_in;
	long r;

	/* Before the call: a handler that comes in between may already be caught. */
	mrn_armed_in = era;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	r = mrn_dispatch_set(&mrn_selector[era % SELECTORS]);
	if (r)
		mrn_armed_in = was;
	else
		mrn_is_guest = 0;
	/* A kernel without it says EINVAL. */
	return r == -EINVAL || r == -ENOSYS ? -EOPNOTSUPP : (int)r;
}

void mrn_thread_disarm(void)
{
	if (!mrn_armed_in)
		return;
	/* An unseen sandbox may refuse: then the thread stays armed. */
	if (mrn_dispatch_set(NULL))
		return;
	/* A thread that shares the storage may still be armed: do not take its calls for uncaught ones. */
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

void mrn_asked_to_arm(ucontext_t *context)
{
	const bool was_armed = mrn_thread_is_armed();
	const uint32_t tid = (uint32_t)mrn_sys0(SYS_gettid);

	/* A thread made without storage of its own shares its maker's: these words may be the other's. */
	if (was_armed && armed_at_attach && armed_at_attach != tid && !MRN_BROKEN(DISPATCH_SHARED))
		mrn_storage_is_shared = true;
	if (!was_armed && mrn_stack_is_too_small(&context->uc_stack, context)) {
		__atomic_store_n(&failed, NO_ROOM, __ATOMIC_RELAXED);
		return;
	}
	if (!was_armed || mrn_storage_is_shared) {
		/* The mask that the thread goes on with. */
		const bool blocked = mrn_let_sigsys_pass(context);

		if (!was_armed)
			mrn_sigsys_blocked = blocked && !MRN_BROKEN(DISPATCH_KEPT);
		__atomic_store_n(&failed, mrn_thread_arm(), __ATOMIC_RELAXED);
	}
	if (!was_armed) {
		armed_at_attach = tid;
		mrn_altstack_note_next(&context->uc_stack);
		__atomic_store_n(&any_fresh, true, __ATOMIC_RELAXED);
	}
}

void mrn_dispatch_join(void)
{
	const mrn_sigmask sigsys = MRN_SIGSYS_BIT;

	if (mrn_thread_is_armed() || !mrn_dispatch_is_on())
		return;
	/* An own thread has its maker's mask, in which the program may have blocked SIGSYS. */
	if (!MRN_BROKEN(DISPATCH_MASKS))
		mrn_sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&sigsys, 0, sizeof(sigsys));
	if (mrn_is_refused(SYS_prctl) || mrn_thread_arm())
		mrn_thread_is_not_armed();
}

/* ------------------------------------------------------------------------------------ all the others */

long mrn_number_of_thread(long name)
{
	struct mrn_status status;

	if (MRN_BROKEN(DISPATCH_NUMBERS) || mrn_task_status(name, &status) || status.number <= 0)
		return name;
	return status.number;
}

bool mrn_thread_makes_no_calls(long name)
{
	enum { PARENT, GROUP, SESSION, TERMINAL, ITS_GROUP, FLAGS, FIELDS };
	const long kernels_own = 0x4010; /* PF_IO_WORKER, PF_USER_WORKER */
	char stat[192], *p;
	long field[FIELDS];

	if (mrn_task_about(name, "stat", stat, sizeof(stat)))
		return false;
	/* The name may contain anything. */
	p = strrchr(stat, ')');
	if (!p || p[1] != ' ' || !p[2])
		return false;
	if (p[2] == 'Z' || p[2] == 'X')
		return true;
	p += 3;
	for (int i = 0; i < FIELDS; i++)
		field[i] = strtol(p, &p, 10);
	return field[FLAGS] & kernels_own;
}

static int gave_up_on(long name, bool no_signal, char *why, size_t why_size)
{
	if (no_signal) {
		snprintf(why, why_size,
			 "thread %ld cannot be sent a signal: raise RLIMIT_SIGPENDING (ulimit -i)",
			 name);
		return -EAGAIN;
	}
	if (mrn_cannot_be_asked(name)) {
		snprintf(why, why_size,
			 "thread %ld blocks or waits for all signals, libc's own among them, so it "
			 "cannot be armed",
			 name);
		return -EBUSY;
	}
	snprintf(why, why_size, "thread %ld does not answer", name);
	return -ETIMEDOUT;
}

static int cannot_be_armed(long name, int error, char *why, size_t why_size)
{
	if (error != NO_ROOM) {
		snprintf(why, why_size, "thread %ld cannot be armed: %s", name, strerror(-error));
		return error;
	}
	snprintf(why, why_size,
		 "thread %ld has an alternate stack without room for a signal and the handler of "
		 "caught calls",
		 name);
	return -EBUSY;
}

int mrn_thread_has_room(char *why, size_t why_size)
{
	stack_t own = {.ss_flags = SS_DISABLE};

	mrn_sys2(SYS_sigaltstack, 0, (long)&own);
	if (!mrn_stack_is_too_small(&own, NULL))
		return 0;
	return cannot_be_armed(mrn_sys0(SYS_gettid), NO_ROOM, why, why_size);
}

/* Asks until there is an answer, each time anew, since the number may have become another thread's. */
static int ask(long name, long number, char *why, size_t why_size)
{
	struct timespec start, now;
	int error;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		long r = mrn_ask(name, number, MRN_ASK_TO_ARM);

		/* It may just have become one of our own threads. */
		if (mrn_is_own_thread(number))
			return 0;
		if (r == -ESRCH || mrn_thread_makes_no_calls(name)) {
			/* It has ended, and may have made another thread before. */
			__atomic_store_n(&any_fresh, true, __ATOMIC_RELAXED);
			return 0;
		}
		if (r && r != -EBUSY && r != -EAGAIN)
			return (int)r;
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec > start.tv_sec + PATIENCE_S)
			return gave_up_on(name, r == -EAGAIN, why, why_size);
	} while (!mrn_answers_within(number, MRN_ASK_TO_ARM, 10));
	error = __atomic_load_n(&failed, __ATOMIC_RELAXED);
	return error ? cannot_be_armed(name, error, why, why_size) : 0;
}

/* Without a folder (no /proc, or no free descriptor) tries every possible number, which takes a second. */
long mrn_next_thread(void *tasks, long name)
{
	const long top = 1 << 22; /* the kernel's PID_MAX_LIMIT */
	long pid = mrn_sys0(SYS_getpid);
	struct dirent *task;

	if (!tasks) {
		while (++name <= top)
			if (!mrn_sys3(SYS_tgkill, pid, name, 0))
				return name;
		return 0;
	}
	while ((task = readdir(tasks))) {
		name = strtol(task->d_name, NULL, 10);
		if (name > 0)
			return name;
	}
	return 0;
}

/* Asks each other thread once. */
static int ask_all(char *why, size_t why_size)
{
	long self = mrn_sys0(SYS_gettid), name = 0;
	DIR *tasks = opendir("/proc/self/task");
	int r = 0;

	while (!r && (name = mrn_next_thread(tasks, name))) {
		long number = mrn_number_of_thread(name);

		if (number == self || mrn_is_own_thread(number) || mrn_thread_makes_no_calls(name))
			continue;
		r = mrn_thread_may_be_armed(name, why, why_size);
		if (!r)
			r = ask(name, number, why, why_size);
	}
	if (tasks)
		closedir(tasks);
	return r;
}

static int ask_until_all_are_armed(char *why, size_t why_size)
{
	for (int pass = 0; pass < PASSES; pass++) {
		int r;

		__atomic_store_n(&any_fresh, false, __ATOMIC_RELAXED);
		r = ask_all(why, why_size);
		if (r || !__atomic_load_n(&any_fresh, __ATOMIC_ACQUIRE))
			return r;
	}
	snprintf(why, why_size, "threads come and go faster than they can be armed");
	return -ETIMEDOUT;
}

int mrn_threads_arm(char *why, size_t why_size)
{
	int r;

	if (MRN_BROKEN(DISPATCH_ASK))
		return 0;
	armed_at_attach = (uint32_t)mrn_sys0(SYS_gettid);
	__atomic_store_n(&failed, 0, __ATOMIC_RELAXED);
	r = mrn_ask_begin();
	if (r)
		return r;
	r = ask_until_all_are_armed(why, why_size);
	mrn_ask_end();
	return r;
}
