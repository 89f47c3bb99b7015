/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/uffd/uffd.h"

#include <errno.h>
#include <mrn/source.h>
#include <stddef.h>
#include <sys/mman.h>

#include "os/check.h"
#include "source/uffd/check.h"
#include "core/mm.h"
#include "os/atomic.h"
#include "os/fd.h"
#include "os/futex.h"
#include "os/pagemap.h"
#include "os/pages.h"
#include "os/syscall.h"
#include "os/thread.h"
#include "source/confined.h"
#include "source/watched.h"

#define EVENTS (UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE)

static const struct mrn_uffd_numbers none = {-1, -1};

static mrn_sigmask lock(struct mrn_uffd *u)
{
	mrn_sigmask mask = mrn_signals_block();

	mrn_mutex_lock(&u->lock);
	return mask;
}

static void unlock(struct mrn_uffd *u, mrn_sigmask mask)
{
	mrn_mutex_unlock(&u->lock);
	mrn_signals_restore(mask);
}

/* ---------------------------------------------------------------------------- beginning and end */

/* Checks the mark, which is the cheapest check. Not in a sandbox, which may forbid fcntl. */
static bool has_mark(const struct mrn_uffd *u, int fd)
{
	return !mrn_is_confined() && mrn_fd_is_marked(fd, u->monitor_tid);
}

/* True if fd is u's own userfaultfd. Without the mark, asks by the call that arming makes anyway. */
static bool is_our_number(const struct mrn_uffd *u, int fd)
{
	return has_mark(u, fd) || mrn_uffd_is_ours(u, fd);
}

/*
 * True if fd is a page map that shows the bell armed. is_ours: the bell is armed if u's userfaultfd has just been found
 * by it.
 */
static bool shows_bell(const struct mrn_uffd *u, int fd)
{
	uintptr_t bell = __atomic_load_n(&u->bell, __ATOMIC_ACQUIRE);

	return fd >= 0 && bell &&
	       mrn_pagemap_all_armed(fd, bell, bell + mrn_page_size(), NULL) == 1;
}

static bool is_our_page_map(const struct mrn_uffd *u, int fd)
{
	return has_mark(u, fd) || shows_bell(u, fd);
}

void mrn_uffd_close_numbers(struct mrn_uffd *u)
{
	bool is_ours = is_our_number(u, u->kept.fd);

	/* Before the userfaultfd is closed: the check needs an armed bell. */
	if (is_our_page_map(u, u->kept.pagemap))
		mrn_sys1(SYS_close, u->kept.pagemap);
	if (is_ours)
		mrn_sys1(SYS_close, u->kept.fd);
}

static int open_numbers(struct mrn_uffd_numbers *number)
{
	int fd, pagemap = MRN_BROKEN(PAGEMAP_SCAN) ? -1 : mrn_pagemap_open();
	uint64_t got;

	/*
	 * Without /proc, or where it is forbidden, pages are checked one by one; without a free descriptor, nothing
	 * works.
	 */
	if (pagemap == -EMFILE || pagemap == -ENFILE)
		return pagemap;
	/*
	 * WP_ASYNC (Linux 6.7) lets mappings of regular files and SysV segments be armed. Do not arm them without the
	 * page map: nothing could tell the two apart.
	 */
	fd = mrn_uffd_open(EVENTS | UFFD_FEATURE_PAGEFAULT_FLAG_WP,
			   pagemap >= 0 ? UFFD_FEATURE_WP_ASYNC : 0, &got);
	if (pagemap >= 0 && (fd < 0 || !(got & UFFD_FEATURE_WP_ASYNC))) {
		mrn_sys1(SYS_close, pagemap);
		pagemap = -1;
	}
	if (fd < 0)
		return fd;
	number->fd = mrn_fd_move_up(fd);
	number->pagemap = pagemap < 0 ? -1 : mrn_fd_move_up(pagemap);
	return 0;
}

static int start_monitor(struct mrn_uffd *u)
{
	uint32_t turns = u->turns;
	int r = -pthread_create(&u->monitor, NULL, mrn_uffd_monitor, u);

	/* Acquire pairs with the release: monitor_thread is set. */
	while (!r && __atomic_load_n(&u->turns, __ATOMIC_ACQUIRE) == turns)
		mrn_futex_wait(&u->turns, turns, NULL);
	return r;
}

static void stop_monitor(struct mrn_uffd *u)
{
	mrn_mutex_lock(&u->batch_lock);
	u->over = true;
	__atomic_fetch_add(&u->turns, 1, __ATOMIC_RELEASE);
	mrn_futex_wake(&u->turns, 1);
	mrn_mutex_unlock(&u->batch_lock);
	pthread_join(u->monitor, NULL);
}

static int start_keeper(struct mrn_uffd *u, const char **why)
{
	int r = -pthread_create(&u->keeper, NULL, mrn_uffd_keeper, u);

	if (r)
		return r;
	while (!__atomic_load_n(&u->running, __ATOMIC_ACQUIRE))
		mrn_futex_wait(&u->running, 0, NULL);
	if (!u->error)
		return 0;
	pthread_join(u->keeper, NULL);
	*why = u->error == -EBADF
		       ? "another thread has closed a descriptor that was just opened: attach "
			 "again"
		       : "a thread of the library's own needs its own descriptor table: allow "
			 "close_range, or unshare(CLONE_FILES), in the seccomp profile";
	return u->error;
}

static void drop_bell(struct mrn_uffd *u)
{
	if (u->hung)
		mrn_sys2(SYS_munmap, (long)u->hung, (long)mrn_page_size());
	u->bell = u->hung = 0;
}

/* After a failed start, perhaps because the program closed these. */
static void close_unmarked(struct mrn_uffd *u)
{
	bool is_ours = !u->bell || mrn_uffd_is_ours(u, u->kept.fd);

	if (u->kept.pagemap >= 0 && (!u->bell || shows_bell(u, u->kept.pagemap)))
		mrn_sys1(SYS_close, u->kept.pagemap);
	if (!is_ours)
		return;
	/*
	 * A child forked meanwhile may have it open: then closing does not disarm, and unmapping would wait for ever.
	 */
	if (u->bell)
		mrn_uffd_disarm_by(u->kept.fd, u->bell, u->bell + mrn_page_size());
	mrn_sys1(SYS_close, u->kept.fd);
}

static int start_threads(struct mrn_uffd *u, const char **why)
{
	int r = start_monitor(u);

	if (r)
		return r;
	r = start_keeper(u, why);
	if (r)
		stop_monitor(u);
	return r;
}

int mrn_uffd_start(struct mrn_mm *mm, struct mrn_uffd *u, void (*lost)(void), const char **why)
{
	struct mrn_uffd_numbers number = none;
	mrn_sigmask mask;
	int r = open_numbers(&number);

	if (r)
		return r;
	mrn_uffd_know_kernel();
	u->mm = mm;
	u->lost = lost;
	u->kept = number;
	u->over = u->failed = u->reading = u->handling = false;
	u->running = 0;
	mrn_use_once_clear(&u->use_once);
	mrn_uffd_hang_bell(u, number.fd);
	/* No signal handler of the application may run in these threads: it might unmap what is armed. */
	mask = mrn_signals_block();
	r = u->bell ? start_threads(u, why) : -ENOMEM;
	mrn_signals_restore(mask);
	if (r) {
		close_unmarked(u);
		drop_bell(u);
		return r;
	}
	mask = lock(u);
	u->number = number;
	unlock(u, mask);
	return 0;
}

void mrn_uffd_stop(struct mrn_uffd *u)
{
	mrn_sigmask mask = lock(u);

	/* While the monitor lives: they carry its mark. */
	mrn_uffd_close_numbers(u);
	u->number = none;
	mrn_uffd_ask_keeper(u, MRN_UFFD_STOP, 0, 0);
	unlock(u, mask);
	pthread_join(u->keeper, NULL);
	pthread_join(u->monitor, NULL);
	drop_bell(u);
}

void mrn_uffd_forget(struct mrn_uffd *u)
{
	/* Never started, or already forgotten. */
	if (!u->bell && !u->hung)
		return;
	mrn_uffd_close_numbers(u);
	u->number = none;
	/* The child has no keeper, and nothing is armed. */
	u->running = 0;
	drop_bell(u);
}

/* ------------------------------------------------------------------------- arming and disarming */

/*
 * arm and disarm: with the lock held, and by our number as long as it is ours. Once it is not, it never is again, since
 * only the keeper's table still has the file; from then on everything goes through the keeper, which costs two context
 * switches.
 *
 * Arming by the program's userfaultfd would be worst: the program would get the events, and might sleep for them. So
 * arm checks first. Between the check and the call, the number can become a userfaultfd only by a dup2 at just that
 * moment, since the kernel gives out the lowest free number. Any other file fails the call. Another process's page map
 * could answer for ours; it decides only whether there is a hole, or a page of a file.
 *
 * disarm is on the event path, where a check costs the caller time, and fcntl in a sandbox perhaps its life. Another
 * userfaultfd cannot disarm what ours has armed (before Linux 6.17 because it cannot register it): so disarm checks
 * afterwards, when the call has failed.
 */
static int arm(struct mrn_uffd *u, uintptr_t start, uintptr_t end, bool *files)
{
	int r = -EBADF;

	if (is_our_number(u, u->number.fd) || MRN_BROKEN(UFFD_NUMBERS))
		r = mrn_uffd_arm_by(&u->number, start, end, files);
	if (r == -EBADF) {
		u->number = none;
		u->request.files = *files;
		r = mrn_uffd_ask_keeper(u, MRN_UFFD_ARM, start, end);
		*files = u->request.files;
	}
	/* Without a keeper nothing is armed any more. */
	return r < 0 && r != -EAGAIN ? MRN_USE_ONCE : r;
}

static void disarm(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	int r = u->number.fd >= 0 ? mrn_uffd_disarm_by(u->number.fd, start, end) : -EBADF;

	/* Also fails where nothing is mapped any more, and where nothing can be armed: neither is armed. */
	if (!r || mrn_uffd_is_ours(u, u->number.fd))
		return;
	u->number = none;
	mrn_uffd_ask_keeper(u, MRN_UFFD_DISARM, start, end);
}

int mrn_uffd_arm(struct mrn_uffd *u, uintptr_t start, uintptr_t end, bool *files)
{
	mrn_sigmask mask = lock(u);
	int r;

	/*
	 * Orders armed before the look at the tokens; pairs with the fence in start, between a token and its callbacks.
	 * Either such a callback sees armed, and disarms after us, or we see its token.
	 */
	__atomic_store_n(&u->armed, true, __ATOMIC_RELAXED);
	mrn_fence_full();
	/* A range that is added after this look collides: the keeper holds a token when it adds. */
	if (mrn_use_once_overlaps(&u->use_once, start, end))
		r = MRN_USE_ONCE;
	else if (mrn_tokens_overlap(u->mm, start, end))
		r = -EAGAIN;
	else
		r = arm(u, start, end, files);
	unlock(u, mask);
	return r;
}

void mrn_uffd_disarm(struct mrn_uffd *u, const struct mmu_range_notifier *leaving)
{
	uintptr_t start = leaving->node.start, end = leaving->node.end, gap_end;
	mrn_sigmask mask = lock(u);

	for (; mrn_find_unwatched(u->mm, leaving, &start, end, &gap_end); start = gap_end)
		disarm(u, start, gap_end);
	/* This is the last notifier. A later arm sets it again. */
	if (__atomic_load_n(&u->mm->index.entries, __ATOMIC_RELAXED) == 1)
		__atomic_store_n(&u->armed, false, __ATOMIC_RELAXED);
	unlock(u, mask);
}

void mrn_uffd_disarm_changing(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	mrn_sigmask mask = lock(u);

	disarm(u, start, end);
	unlock(u, mask);
}
