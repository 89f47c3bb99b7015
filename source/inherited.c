/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Filters that mrn has not seen installed: the program was executed in a sandbox, or entered one past libc or before
 * anybody listened. Filters cannot be read. So mrn makes each of its calls once, with no effect, in a process of its
 * own. A call that kills that process is not made here, nor one that fails there although it should succeed. The
 * process has a copy of this memory: before Linux 5.16 the death of one that shares it may kill all.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "source/check.h"
#include "os/pages.h"
#include "os/status.h"
#include "os/syscall.h"
#include "os/thread.h"
#include "source/confined.h"
#include "source/own_calls.h"

/* What the process leaves behind, in shared memory. */
struct progress {
	unsigned int next; /* index in the list */
	long doing;	   /* the call that it has made last */
	struct mrn_call_set failed;
};

static long one(struct progress *p, long nr, const long *a)
{
	p->doing = nr;
	return mrn_sys6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* The program's signal handlers must not run in the process. */
static void default_action(struct progress *p)
{
	const struct {
		void *handler;
		uint64_t flags;
		void *restorer;
		uint64_t mask;
	} none = {.handler = (void *)(uintptr_t)SIG_DFL};
	const long a[6] = {SIGSYS, (long)&none, 0, sizeof(none.mask)};

	one(p, SYS_rt_sigaction, a);
}

static void in_child(struct progress *p, const struct mrn_call_set *refused)
{
	if (!mrn_call_set_has(refused, SYS_rt_sigaction))
		default_action(p);
	for (; p->next < mrn_nr_own_calls; p->next++) {
		const struct mrn_own_call *call = &mrn_own_calls[p->next];

		if (call->can_be_tried && !mrn_call_set_has(refused, (unsigned long)call->nr) &&
		    one(p, call->nr, call->a) && call->succeeds)
			mrn_call_set_add(&p->failed, (unsigned long)call->nr);
	}
	for (;;)
		mrn_sys6(SYS_exit_group, 0, 0, 0, 0, 0, 0);
}

/* Starts one process after the other, until one reaches the end of the list. */
static int try_each(struct progress *p, struct mrn_call_set *refused)
{
	while (p->next < mrn_nr_own_calls) {
		long pid = mrn_sys6(SYS_clone, 0, 0, 0, 0, 0, 0), r;
		int status;

		if (!pid)
			in_child(p, refused);
		if (pid < 0)
			return (int)pid;
		do
			r = mrn_sys4(SYS_wait4, pid, (long)&status, __WALL, 0);
		while (r == -EINTR);
		if (r < 0)
			return (int)r;
		/* Died otherwise, or of a call already refused: do not try for ever. */
		if (p->next < mrn_nr_own_calls &&
		    (!WIFSIGNALED(status) || mrn_call_set_has(refused, (unsigned long)p->doing)))
			return -EPERM;
		if (p->next < mrn_nr_own_calls)
			mrn_call_set_add(refused, (unsigned long)p->doing);
	}
	return 0;
}

static int try(void)
{
	const size_t size = mrn_page_size();
	struct mrn_call_set refused = mrn_refused->somewhere;
	long p = mrn_own6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int r;

	if (mrn_sys_failed(p))
		return -ENOMEM;
	r = try_each((struct progress *)p, &refused);
	if (!r) {
		mrn_refuse(&refused, true);
		mrn_refuse(&((struct progress *)p)->failed, true);
	}
	mrn_sys2(SYS_munmap, p, (long)size);
	return r;
}

/* ------------------------------------------------------------------------------------ are there any? */

/* Of this thread: 0 if there are none, or if it cannot be known. */
static long count_filters(void)
{
	struct mrn_status status;

	if (mrn_status_read("/proc/thread-self/status", &status) || status.seccomp <= 0)
		return 0;
	/* Before Linux 5.9 the kernel does not count them. */
	return status.filters > 0 ? status.filters : -1;
}

int mrn_confined_look(void)
{
	static const long needed[] = {SYS_clone, SYS_wait4, SYS_exit_group};
	static long known; /* a forked child has as many */
	long count = count_filters();
	int r;

	if (!count || count == known || MRN_BROKEN(CONFINED_TRIAL))
		return 0;
	/* Then only the filters that were seen count. */
	if (mrn_confined_lacks(needed, sizeof(needed) / sizeof(needed[0])) >= 0)
		return 0;
	r = try();
	if (!r)
		known = count;
	return r;
}
