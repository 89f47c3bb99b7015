/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork, by pthread_atfork handlers. Not by a wrapper: other handlers take their owners' locks in fork, and a thread
 * that waits for a token may hold one. The handlers that are installed first run closest to the call. Also what libc
 * runs no handlers for: _Fork, and clone of a child with memory of its own.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/types.h>

#include "source/bracket/check.h"
#include "os/peek.h"
#include "os/thread.h"
#include "source/bracket/held.h"
#include "source/bracket/read.h"
#include "source/bracket/record.h"
#include "source/child.h"
#include "source/interpose/copy.h"
#include "source/interpose/real.h"
#include "source/interpose/wrapper.h"
#include "source/interposer.h"

#include "os/event_path.h"

/* ------------------------------------------------------------------------------------------ the tokens */

/* More threads than this seldom fork at a time. */
#define RECORDS 64

struct copying {
	struct mrn_bracket bracket;
	struct copying *outer; /* of the call that this one interrupted in the same thread */
	unsigned int level;
	bool late;
	bool taken; /* atomic */
};

static struct copying record[RECORDS];
static MRN_TLS struct copying *innermost;
/* This thread's calls in progress, with or without a record. */
static MRN_TLS unsigned int level;

static struct copying *take_one(void)
{
	if (innermost && MRN_BROKEN(BRACKET_NESTED))
		return NULL;
	for (unsigned int i = 0; i < RECORDS; i++)
		if (mrn_record_take(&record[i].taken))
			return &record[i];
	return NULL;
}

/* A handler that interrupts this anywhere, and forks, ends its own calls before this goes on. */
void mrn_copy_begins(bool waits)
{
	struct copying *r = take_one();

	__atomic_store_n(&level, level + 1, __ATOMIC_RELAXED);
	if (!r)
		return;
	r->level = level;
	r->outer = innermost;
	r->late = waits;
	mrn_bracket_none(&r->bracket);
	__atomic_store_n(&innermost, r, __ATOMIC_RELAXED);
	mrn_bracket_fork(&r->bracket);
	if (waits)
		mrn_bracket_end(&r->bracket, false);
}

void mrn_copy_ends(void)
{
	struct copying *r = innermost;

	if (r && r->level != level && !MRN_BROKEN(BRACKET_NESTED))
		r = NULL;
	if (!r || r->late)
		mrn_bracket_late(MMU_NOTIFY_PROTECTION_PAGE, MRN_CAUSE_FORK, 0, UINTPTR_MAX, false);
	if (r) {
		mrn_bracket_end(&r->bracket, false);
		__atomic_store_n(&innermost, r->outer, __ATOMIC_RELAXED);
		mrn_record_give(&r->taken);
	}
	__atomic_store_n(&level, level - 1, __ATOMIC_RELAXED);
}

/* A child that returns from a handler meets the ends of the calls which that interrupted: they have no token here. */
void mrn_copy_is_here(void)
{
	for (unsigned int i = 0; i < RECORDS; i++)
		__atomic_store_n(&record[i].taken, false, __ATOMIC_RELAXED);
	innermost = NULL;
	__atomic_store_n(&level, level - 1, __ATOMIC_RELAXED);
	mrn_held_forget();
	mrn_source_forget_parents();
}

/* For a child of a call without libc's handlers. */
static void is_here_past_libc(void)
{
	mrn_copy_is_here();
	mrn_child_is_here(true);
}

static void before_fork(void)
{
	mrn_copy_begins(false);
}

__attribute__((constructor(101))) static void install(void)
{
	pthread_atfork(before_fork, mrn_copy_ends, mrn_copy_is_here);
}

/* --------------------------------------------------------------------------------------- past handlers */

/* Only newer C libraries declare it. */
MRN_INTERPOSED pid_t _Fork(void);
MRN_INTERPOSED pid_t _Fork(void)
{
	pid_t pid;

	mrn_copy_begins(false);
	pid = MRN_REAL(Fork)();
	if (pid)
		mrn_copy_ends();
	else
		is_here_past_libc();
	return pid;
}

/* On the parent's stack; the child has a copy. */
struct child {
	int (*fn)(void *arg);
	void *arg;
};

static int in_child(void *arg)
{
	const struct child *child = arg;

	mrn_copy_is_here();
	/* The child's stack may be small. */
	mrn_child_is_here(false);
	return child->fn(child->arg);
}

MRN_INTERPOSED int clone(int (*fn)(void *arg), void *stack, int flags, void *arg, ...)
{
	struct child child = {fn, arg};
	pid_t *parent_tid, *child_tid;
	void *tls;
	va_list ap;
	int r;

	va_start(ap, arg);
	parent_tid = va_arg(ap, pid_t *);
	tls = va_arg(ap, void *);
	child_tid = va_arg(ap, pid_t *);
	va_end(ap);
	/* libc refuses these itself. */
	if ((flags & CLONE_VM) || !fn || !stack)
		return MRN_REAL(clone)(fn, stack, flags, arg, parent_tid, tls, child_tid);
	mrn_copy_begins(flags & CLONE_VFORK);
	r = MRN_REAL(clone)(in_child, stack, flags, &child, parent_tid, tls, child_tid);
	mrn_copy_ends();
	return r;
}

MRN_INTERPOSED int __clone(int (*fn)(void *arg), void *stack, int flags, void *arg, ...)
	__attribute__((alias("clone"), leaf, nothrow));

/* --------------------------------------------------------------------------------------- by the number */

/* As the kernel reads it: 32 bits. x32's forks have the numbers of ours. */
static uint32_t number_of(long nr)
{
#ifdef __x86_64__
	return (uint32_t)nr & ~(uint32_t)MRN_X32_BIT;
#else
	return (uint32_t)nr;
#endif
}

/* False if the call makes no process. */
static bool read_flags(long nr, long a, uint64_t *flags)
{
	int r;

	switch (number_of(nr)) {
#ifdef SYS_fork
	case SYS_fork:
		*flags = 0;
		return true;
#endif
	case SYS_clone:
		*flags = (uint64_t)a;
		return true;
	case SYS_clone3:
		/* flags is the first member. */
		r = mrn_peek(flags, (uintptr_t)a, sizeof(*flags));
		/* If the kernel may not be asked, trust the address. */
		if (r && r != -EFAULT)
			*flags = *(const uint64_t *)a;
		return r != -EFAULT;
	default:
		return false;
	}
}

bool mrn_call_copies(long nr, long a)
{
	uint64_t flags;

	/* Asks the kernel, which a sandbox may punish, only if it matters. */
	if (number_of(nr) == SYS_clone3 && mrn_bracket_tells_nobody())
		return false;
	return read_flags(nr, a, &flags) && !(flags & CLONE_VM);
}

long mrn_copy_by_number(long nr, long a, long b, long c, long d, long e, long f)
{
	uint64_t flags = 0;
	long r;

	read_flags(nr, a, &flags);
	mrn_copy_begins(flags & CLONE_VFORK);
	r = __atomic_load_n(&mrn_real_syscall, __ATOMIC_RELAXED)(nr, a, b, c, d, e, f);
	if (r)
		mrn_copy_ends();
	else
		is_here_past_libc();
	return r;
}
