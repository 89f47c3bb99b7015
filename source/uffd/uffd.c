/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/uffd/uffd.h"

#include <errno.h>
#include <mrn/source.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "core/mm.h"
#include "os/maps.h"
#include "os/syscall.h"
#include "os/thread.h"
#include "os/uffd.h"

#define EVENTS (UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE)

int mrn_uffd_start(struct mrn_mm *mm, struct mrn_uffd *u)
{
	mrn_sigmask mask;
	uint64_t got;
	int fd, r;

	/* WP_ASYNC (Linux 6.7) is what lets a regular file's or a SysV segment's mapping be armed. */
	fd = mrn_uffd_open(EVENTS | UFFD_FEATURE_PAGEFAULT_FLAG_WP, UFFD_FEATURE_WP_ASYNC, &got);
	if (fd < 0)
		return fd;
	u->mm = mm;
	u->use_once.n = 0;
	u->fd = fd;
	u->stop = (int)mrn_sys2(SYS_eventfd2, 0, EFD_CLOEXEC);
	if (u->stop < 0) {
		r = u->stop;
		u->fd = -1;
		mrn_sys1(SYS_close, fd);
		return r;
	}
	/* No handler of the application's may run in the monitor: it might unmap what is armed. */
	mask = mrn_signals_block();
	r = -pthread_create(&u->monitor, NULL, mrn_uffd_monitor, u);
	mrn_signals_restore(mask);
	if (r) {
		mrn_sys1(SYS_close, u->stop);
		u->fd = -1;
		mrn_sys1(SYS_close, fd);
	}
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

	/*
	 * Range by range, before the descriptor is closed: a child that was made without running
	 * fork handlers may hold a copy of it, and then closing ours would leave everything armed
	 * with nobody to read.
	 */
	mrn_maps_visit(disarm_mapping, u);
	mrn_sys3(SYS_write, u->stop, (long)&one, sizeof(one));
	pthread_join(u->monitor, NULL);
	mrn_mutex_lock(&u->lock);
	mrn_sys1(SYS_close, u->fd);
	u->fd = -1;
	mrn_mutex_unlock(&u->lock);
	mrn_sys1(SYS_close, u->stop);
}

void mrn_uffd_forget(struct mrn_uffd *u)
{
	mrn_sys1(SYS_close, u->fd);
	mrn_sys1(SYS_close, u->stop);
}

int mrn_uffd_arm(struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	struct uffdio_register reg = {.range = {.start = start, .len = end - start},
				      .mode = UFFDIO_REGISTER_MODE_WP};
	long r;

	/* A range that is added after this look collides: the monitor holds a token when it adds. */
	if (mrn_use_once_overlaps(&u->use_once, start, end))
		return MRN_ARM_USE_ONCE;
	mrn_mutex_lock(&u->lock);
	r = mrn_sys3(SYS_ioctl, u->fd, UFFDIO_REGISTER, (long)&reg);
	mrn_mutex_unlock(&u->lock);
	/*
	 * EINVAL: a kind of mapping that cannot be armed. EPERM: shared, without write access to the
	 * file. EBUSY: another userfaultfd has it. ENOMEM: the mappings have reached their limit.
	 */
	return r < 0 ? MRN_ARM_USE_ONCE : 0;
}

void mrn_uffd_disarm(struct mrn_uffd *u, const struct mmu_range_notifier *leaving)
{
	uintptr_t start = leaving->node.start, end = leaving->node.end, gap_end;

	mrn_mutex_lock(&u->lock);
	for (; mrn_mm_gap(u->mm, leaving, &start, end, &gap_end); start = gap_end)
		mrn_uffd_disarm_now(u, start, gap_end);
	mrn_mutex_unlock(&u->lock);
}
