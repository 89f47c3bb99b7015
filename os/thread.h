/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread's identity, for code that may run in a signal handler, inside free(), and before libc has set up the thread:
 * a number that no other thread ever has, and a signal mask.
 */
#ifndef MRN_OS_THREAD_H
#define MRN_OS_THREAD_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "os/syscall.h"

/* Initial-exec: the general model may allocate at the first access. */
#define MRN_TLS __thread __attribute__((tls_model("initial-exec")))

extern MRN_TLS uint64_t mrn_thread_number;
uint64_t mrn_thread_draw(void);

/*
 * This thread's number, never 0. Not an address: a new thread may get an ended thread's, and would take what that one
 * left in progress for its own.
 */
static inline uint64_t mrn_thread_self(void)
{
	uint64_t number = __atomic_load_n(&mrn_thread_number, __ATOMIC_RELAXED);

	return __builtin_expect(number != 0, 1) ? number : mrn_thread_draw();
}

/*
 * The library's own threads, which block all signals and make system calls only by mrn_sys6. Call enter first, leave
 * last. There is room for some dozens; further ones count as ordinary threads.
 */
void mrn_own_thread_enter(void);
void mrn_own_thread_leave(void);
/*
 * Called by an own thread that is about to run the program's code, and so becomes an ordinary one; set by a source that
 * watches threads.
 */
extern void (*mrn_own_thread_joins)(void);
static inline void mrn_own_thread_join(void)
{
	void (*joins)(void) = __atomic_load_n(&mrn_own_thread_joins, __ATOMIC_ACQUIRE);

	if (joins)
		joins();
}
bool mrn_is_own_thread(long tid);

/* The kernel's signal set, 64 signals; libc's sigset_t is larger. */
typedef uint64_t mrn_sigmask;

/*
 * Not SIGSYS: with it blocked, a system call that source/dispatch catches ends the process. If the program has blocked it,
 * it stays so: one may be pending.
 */
#define MRN_SIGNALS_BLOCKED (~(UINT64_C(1) << (SIGSYS - 1)))

static inline mrn_sigmask mrn_signals_block(void)
{
	mrn_sigmask all = MRN_SIGNALS_BLOCKED, old = 0;

	mrn_sys4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&all, (long)&old, sizeof(all));
	return old;
}

static inline void mrn_signals_restore(mrn_sigmask old)
{
	mrn_sys4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&old, 0, sizeof(old));
}

#endif
