/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/uffd/uffd.h"

#include <errno.h>
#include <mrn/source.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "core/check.h"
#include "core/mm.h"
#include "os/atomic.h"
#include "os/maps.h"
#include "os/pagemap.h"
#include "os/pages.h"
#include "os/syscall.h"
#include "os/thread.h"
#include "os/uffd.h"

#define EVENTS (UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE)

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

static void close_fd(int *fd)
{
	if (*fd >= 0)
		mrn_sys1(SYS_close, *fd);
	*fd = -1;
}

static void close_all(struct mrn_uffd *u)
{
	close_fd(&u->fd);
	close_fd(&u->stop);
	close_fd(&u->pagemap);
}

int mrn_uffd_start(struct mrn_mm *mm, struct mrn_uffd *u)
{
	mrn_sigmask mask;
	uint64_t got;
	int fd, r;

	u->pagemap = MRN_BROKEN(UFFD_PAGEMAP) ? -1 : mrn_pagemap_open();
	/*
	 * WP_ASYNC (Linux 6.7) is what lets a regular file's or a SysV segment's mapping be armed. Without /proc those are better not: nobody
	 * could tell the one from the other.
	 */
	fd = mrn_uffd_open(EVENTS | UFFD_FEATURE_PAGEFAULT_FLAG_WP,
			   u->pagemap >= 0 ? UFFD_FEATURE_WP_ASYNC : 0, &got);
	if (fd < 0) {
		close_fd(&u->pagemap);
		return fd;
	}
	u->mm = mm;
	mrn_use_once_clear(&u->use_once);
	u->arms_files = got & UFFD_FEATURE_WP_ASYNC;
	if (!u->arms_files)
		close_fd(&u->pagemap);
	u->fd = fd;
	u->stop = (int)mrn_sys2(SYS_eventfd2, 0, EFD_CLOEXEC);
	if (u->stop < 0) {
		r = u->stop;
		close_all(u);
		return r;
	}
	/* No handler of the application's may run in the monitor: it might unmap what is armed. */
	mask = mrn_signals_block();
	r = -pthread_create(&u->monitor, NULL, mrn_uffd_monitor, u);
	mrn_signals_restore(mask);
	if (r)
		close_all(u);
	return r;
}

void mrn_uffd_disarm_now(const struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	struct uffdio_range range = {.start = start, .len = end - start};

	/* Fails where nothing is mapped any more, and where nothing can be armed: both are disarmed. */
	mrn_sys3(SYS_ioctl, u->fd, UFFDIO_UNREGISTER, (long)&range);
}

static bool disarm_mapping(const struct mrn_mapping *m, void *uffd)
{
	mrn_uffd_disarm_now(uffd, m->start, m->end);
	return true;
}

void mrn_uffd_stop(struct mrn_uffd *u)
{
	uint64_t one = 1;
	mrn_sigmask mask;

	/*
	 * Range by range, before the descriptor is closed: a child that was made without running
	 * fork handlers may hold a copy of it, and then closing ours would leave everything armed
	 * with nobody to read.
	 */
	mrn_maps_visit(disarm_mapping, u);
	mrn_sys3(SYS_write, u->stop, (long)&one, sizeof(one));
	pthread_join(u->monitor, NULL);
	mask = lock(u);
	close_all(u);
	unlock(u, mask);
}

void mrn_uffd_forget(struct mrn_uffd *u)
{
	close_all(u);
}

/*
 * Is this page mapped and armed, now? To lift a write protection that is not there changes nothing, and
 * fails (ENOENT) on a hole and on a mapping that is not armed; EAGAIN says that an event is unread.
 */
static long look_at_page(const struct mrn_uffd *u, uintptr_t page)
{
	struct uffdio_writeprotect wp = {.range = {.start = page, .len = mrn_page_size()}};

	return mrn_sys3(SYS_ioctl, u->fd, UFFDIO_WRITEPROTECT, (long)&wp);
}

/* *files: see mrn_uffd_arm. */
static long look_at_all(const struct mrn_uffd *u, uintptr_t start, uintptr_t end, bool *files)
{
	bool own = false;

	if (u->pagemap >= 0) {
		if (mrn_pagemap_all_armed(u->pagemap, start, end, *files ? &own : NULL) != 1)
			return -ENOENT;
		*files = *files && !own;
		return 0;
	}
	*files = *files && u->arms_files;
	for (uintptr_t page = start; page < end; page += mrn_page_size()) {
		long r = look_at_page(u, page);

		if (r)
			return r;
	}
	return 0;
}

/*
 * With the lock held. REGISTER fails with EINVAL for a kind of mapping that cannot be armed, EPERM for
 * a shared one without write access to the file, EBUSY where another userfaultfd is, ENOMEM when the
 * process has as many mappings as it may have. All of these make the range good for one use.
 */
static int arm_all(struct mrn_uffd *u, uintptr_t start, uintptr_t end, bool *files)
{
	struct uffdio_register reg = {.range = {.start = start, .len = end - start},
				      .mode = UFFDIO_REGISTER_MODE_WP};
	long r = mrn_sys3(SYS_ioctl, u->fd, UFFDIO_REGISTER, (long)&reg);

	if (!r && !MRN_BROKEN(UFFD_HOLES))
		r = look_at_all(u, start, end, files);
	if (r == -EAGAIN)
		return -EAGAIN;
	return r ? MRN_ARM_USE_ONCE : 0;
}

int mrn_uffd_arm(struct mrn_uffd *u, uintptr_t start, uintptr_t end, bool *files)
{
	mrn_sigmask mask = lock(u);
	int r;

	/*
	 * Orders armed before the look at the tokens; pairs with the fence in start, between a token and its
	 * callbacks. Either such a callback sees armed, and disarms when we are done, or we see its token.
	 */
	__atomic_store_n(&u->armed, true, __ATOMIC_RELAXED);
	mrn_fence_full();
	/* A range that is added after this look collides: the monitor holds a token when it adds. */
	if (mrn_use_once_overlaps(&u->use_once, start, end))
		r = MRN_ARM_USE_ONCE;
	else if (mrn_tokens_overlap(u->mm, start, end))
		r = -EAGAIN;
	else
		r = arm_all(u, start, end, files);
	unlock(u, mask);
	return r;
}

void mrn_uffd_disarm(struct mrn_uffd *u, const struct mmu_range_notifier *leaving)
{
	uintptr_t start = leaving->node.start, end = leaving->node.end, gap_end;
	mrn_sigmask mask = lock(u);

	for (; mrn_mm_gap(u->mm, leaving, &start, end, &gap_end); start = gap_end)
		mrn_uffd_disarm_now(u, start, gap_end);
	/* The last notifier there is. Who has inserted another since will say so anew when he arms. */
	if (__atomic_load_n(&u->mm->index.entries, __ATOMIC_RELAXED) == 1)
		__atomic_store_n(&u->armed, false, __ATOMIC_RELAXED);
	unlock(u, mask);
}

void mrn_uffd_disarm_changing(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	mrn_sigmask mask = lock(u);

	mrn_uffd_disarm_now(u, start, end);
	unlock(u, mask);
}
