/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/uffd/quiet.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "os/syscall.h"
#include "os/tasks.h"
#include "source/uffd/check.h"

#include "os/event_path.h"

#define MOST 256

/* By the names that /proc has for them. */
struct threads {
	unsigned int n;
	long of[MOST];
};

static const char *read_number(const char *p, uint64_t *n)
{
	for (*n = 0; *p >= '0' && *p <= '9'; p++)
		*n = *n * 10 + (uint64_t)(*p - '0');
	return p;
}

/* The name at the end of "PID/task/TID", to which /proc/thread-self leads; 0 if there is none. */
static long own_name(void)
{
	char link[64];
	const char *p = link;
	uint64_t n;
	long r = mrn_sys4(SYS_readlinkat, AT_FDCWD, (long)"/proc/thread-self", (long)link,
			  sizeof(link) - 1);

	if (r <= 0)
		return 0;
	link[r] = '\0';
	for (int i = 0; p && i < 2; i++) {
		p = strchr(p, '/');
		p = p ? p + 1 : NULL;
	}
	if (!p)
		return 0;
	read_number(p, &n);
	return (long)n;
}

/* One too many shows in n. */
static bool take(long name, void *threads)
{
	struct threads *t = threads;

	if (t->n < MOST)
		t->of[t->n] = name;
	return ++t->n <= MOST;
}

/* False if there are too many, or if the kernel does not tell. */
static bool list(struct threads *t)
{
	t->n = 0;
	return !mrn_tasks_visit(take, t) && t->n && t->n <= MOST;
}

/* A call in which a thread may zap, or waits for a child that may: madvise by each of the kernel's tables. */
static bool may_zap(uint64_t nr)
{
	static const uint64_t calls[] = {
		SYS_madvise, SYS_process_madvise, SYS_clone, SYS_clone3,
#ifdef __x86_64__
		SYS_vfork,   SYS_restart_syscall /* i386's madvise */
#endif
	};

	/* The x32 ABI's numbers are above these. */
	if (nr >= 0x10000000)
		return true;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (calls[i] == nr)
			return true;
	return false;
}

/*
 * What /proc says of a thread: "running"; "-1 ..." outside of calls, as in a page fault; or a call's number, its six
 * arguments, the stack pointer and the instruction's address. A ring's thread has a number that means nothing, and no
 * stack pointer.
 */
static bool is_elsewhere(const char *text, enum mrn_once *reason)
{
	const char *p = text;
	uint64_t nr;

	*reason = MRN_ONCE_RUNNING;
	if (*p < '0' || *p > '9')
		return *p == 'r' && MRN_BROKEN(UFFD_RUNNING_MISSED);
	/* At the blank before the first argument; then at the one before the stack pointer. */
	p = read_number(p, &nr);
	for (int i = 0; p && i < 6; i++)
		p = strchr(p + 1, ' ');
	if (!p || may_zap(nr))
		return false;
	*reason = MRN_ONCE_RINGS_THREAD;
	return strncmp(p + 1, "0x0 ", 4) != 0 || MRN_BROKEN(UFFD_RING_MISSED);
}

static bool was_seen_elsewhere(long name, struct mrn_obstacle *obstacle)
{
	char text[256];
	int r = mrn_task_about(name, "syscall", text, sizeof(text));

	obstacle->thread = name;
	if (!r)
		return is_elsewhere(text, &obstacle->reason);
	/* It has ended since it was listed. */
	obstacle->reason = r == -ENOENT || r == -ESRCH ? MRN_ONCE_RUNNING : MRN_ONCE_UNSEEN;
	return false;
}

/*
 * The kernel may leave threads out of a list from which a thread goes while it is made. So a second list, made after the
 * look, must be the same: then no thread of the first has gone.
 */
bool mrn_all_threads_are_elsewhere(struct mrn_obstacle *obstacle)
{
	long own = own_name();
	struct threads first, again;

	*obstacle = (struct mrn_obstacle){.reason = MRN_ONCE_UNSEEN};
	if (!own || !list(&first))
		return false;
	for (unsigned int i = 0; i < first.n; i++)
		if (first.of[i] != own && !was_seen_elsewhere(first.of[i], obstacle))
			return false;
	/* Threads that come and go meanwhile may have run. */
	*obstacle = (struct mrn_obstacle){.reason = MRN_ONCE_RUNNING};
	return list(&again) && again.n == first.n &&
	       !memcmp(first.of, again.of, first.n * sizeof(first.of[0]));
}
