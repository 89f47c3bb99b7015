/* SPDX-License-Identifier: BSD-3-Clause */
/* The source's descriptors: opens and closes them, and tells whether a number is still ours. */
#include <errno.h>
#include <stddef.h>

#include "os/check.h"
#include "os/fd.h"
#include "os/maps.h"
#include "os/pagemap.h"
#include "os/pages.h"
#include "os/syscall.h"
#include "source/confined.h"
#include "source/uffd/uffd.h"

#define EVENTS (UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE)

bool mrn_uffd_has_mark(const struct mrn_uffd *u, int fd)
{
	return !mrn_is_confined() && mrn_fd_is_marked(fd, u->monitor_tid);
}

bool mrn_uffd_is_our_number(const struct mrn_uffd *u, int fd)
{
	return mrn_uffd_has_mark(u, fd) || mrn_uffd_is_ours(u, fd);
}

/* True if fd is a page map that shows the bell armed, as it is if u's userfaultfd has just been found by it. */
static bool shows_bell(const struct mrn_uffd *u, int fd)
{
	uintptr_t bell = __atomic_load_n(&u->bell, __ATOMIC_ACQUIRE);

	return fd >= 0 && bell &&
	       mrn_pagemap_all_armed(fd, bell, bell + mrn_page_size(), NULL) == 1;
}

bool mrn_uffd_is_our_page_map(const struct mrn_uffd *u, int fd)
{
	return mrn_uffd_has_mark(u, fd) || shows_bell(u, fd);
}

void mrn_uffd_close_numbers(struct mrn_uffd *u)
{
	bool is_ours = mrn_uffd_is_our_number(u, u->kept.fd);

	if (u->number.maps >= 0 && mrn_uffd_has_mark(u, u->number.maps))
		mrn_sys1(SYS_close, u->number.maps);
	/* Before the userfaultfd is closed: the check needs an armed bell. */
	if (mrn_uffd_is_our_page_map(u, u->kept.pagemap))
		mrn_sys1(SYS_close, u->kept.pagemap);
	if (is_ours)
		mrn_sys1(SYS_close, u->kept.fd);
}

int mrn_uffd_open_numbers(struct mrn_uffd_numbers *number)
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

int mrn_uffd_open_maps(const struct mrn_uffd *u)
{
	struct mrn_mapping m;
	int fd = mrn_is_confined() ? -1 : mrn_maps_open();

	if (fd < 0)
		return -1;
	fd = mrn_fd_move_up(fd);
	if (!mrn_maps_query(fd, 0, &m) && !mrn_fd_mark(fd, u->monitor_tid))
		return fd;
	mrn_sys1(SYS_close, fd);
	return -1;
}

void mrn_uffd_close_unmarked(struct mrn_uffd *u)
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
