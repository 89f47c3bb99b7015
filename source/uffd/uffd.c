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
	struct mrn_uffd_numbers number = MRN_UFFD_NO_NUMBERS;
	mrn_sigmask mask;
	int r = MRN_PAGES_ONCE(u->lasting);

	mrn_marks_reserve(&u->armed, MRN_MARKS_OF_ARMED);

	if (!r)
		r = mrn_uffd_open_numbers(&number);
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
		mrn_uffd_close_unmarked(u);
		drop_bell(u);
		return r;
	}
	number.maps = mrn_uffd_open_maps(u);
	mask = mrn_mutex_lock_masked(&u->lock);
	/* The last userfaultfd's. */
	mrn_marks_clear_all(&u->armed);
	mrn_lasting_clear(u->lasting);
	mrn_wide_clear(&u->wide);
	u->number = number;
	mrn_mutex_unlock_masked(&u->lock, mask);
	return 0;
}

void mrn_uffd_stop(struct mrn_uffd *u)
{
	mrn_sigmask mask = mrn_mutex_lock_masked(&u->lock);

	/* While the monitor lives: they carry its mark. */
	mrn_uffd_close_numbers(u);
	u->number = MRN_UFFD_NO_NUMBERS;
	mrn_uffd_ask_keeper(u, MRN_UFFD_STOP, 0, 0);
	mrn_mutex_unlock_masked(&u->lock, mask);
	pthread_join(u->keeper, NULL);
	pthread_join(u->monitor, NULL);
	if (!MRN_BROKEN(ONCE_DETACH))
		mrn_use_once_clear(&u->use_once);
	drop_bell(u);
}

void mrn_uffd_forget(struct mrn_uffd *u)
{
	/* Never started, or already forgotten. */
	if (!u->bell && !u->hung)
		return;
	mrn_uffd_close_numbers(u);
	u->number = MRN_UFFD_NO_NUMBERS;
	/* The child has no keeper, and nothing is armed. */
	u->running = 0;
	drop_bell(u);
}
