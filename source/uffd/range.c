/* SPDX-License-Identifier: BSD-3-Clause */
/* Arms, disarms and looks, by descriptors of the caller's table. */
#include <errno.h>
#include <mrn/source.h>
#include <stddef.h>
#include <sys/ioctl.h>

#include "os/check.h"
#include "source/uffd/check.h"
#include "os/kernel.h"
#include "os/maps.h"
#include "os/pagemap.h"
#include "os/pages.h"
#include "os/syscall.h"
#include "source/uffd/uffd.h"

#include "os/event_path.h"

int mrn_uffd_register(int fd, uintptr_t start, uintptr_t end)
{
	struct uffdio_register reg = {.range = {.start = start, .len = end - start},
				      .mode = UFFDIO_REGISTER_MODE_WP};

	return (int)mrn_sys3(SYS_ioctl, fd, UFFDIO_REGISTER, (long)&reg);
}

bool mrn_uffd_is_ours(const struct mrn_uffd *u, int fd)
{
	uintptr_t bell = __atomic_load_n(&u->bell, __ATOMIC_ACQUIRE);

	return fd >= 0 && bell && !mrn_uffd_register(fd, bell, bell + mrn_page_size());
}

/*
 * 0 if this range is mapped and armed, now. Lifting a write protection that is not there changes nothing; it fails with
 * ENOENT on a hole and on a mapping that is not armed, and, before anything else, with EAGAIN while an event is unread.
 */
static int look_at_page(int fd, uintptr_t page, size_t length)
{
	struct uffdio_writeprotect wp = {.range = {.start = page, .len = length}};

	return (int)mrn_sys3(SYS_ioctl, fd, UFFDIO_WRITEPROTECT, (long)&wp);
}

static bool is_event_unread(int fd, uintptr_t page)
{
	/* No range: it looks at nothing else. */
	return look_at_page(fd, page, 0) == -EAGAIN;
}

static int look_at_all(const struct mrn_uffd_numbers *number, uintptr_t start, uintptr_t end,
		       bool *files)
{
	bool own = false;
	int r = 0;

	if (number->pagemap >= 0) {
		r = mrn_pagemap_all_armed(number->pagemap, start, end, *files ? &own : NULL);
		*files = *files && !own;
		return r < 0 ? -EBADF : r ? 0 : -ENOENT;
	}
	*files = false;
	for (uintptr_t page = start; page < end && !r; page += mrn_page_size())
		r = look_at_page(number->fd, page, mrn_page_size());
	return r;
}

/* Mappings side by side that are looked at. More of them make a range that is not plain. */
#define MAPPINGS 8

/* How many mappings hold [start, end), which are all private memory without a file; 0 if that is not known. */
static int plain_mappings(int maps, uintptr_t start, uintptr_t end)
{
	struct mrn_mapping m;

	for (int n = 1; maps >= 0 && n <= MAPPINGS; n++) {
		if (mrn_maps_query(maps, start, &m) || m.start > start || m.shared ||
		    mrn_mapping_is_of_file(&m))
			break;
		if (m.end >= end)
			return n;
		start = m.end;
	}
	return 0;
}

/*
 * Is all of it mapped and armed, and what is it?
 *
 * If one plain mapping holds it, the page map need not be asked. REGISTER has armed what was mapped. An armed mapping
 * never merges with one that is not; so a mapping that holds the range, and so a page that was armed, is armed as a whole
 * - unless all that was armed in the range went away in between and something new came. Then an event is unread, or has
 * been read, and the caller finds a token.
 */
static int look(const struct mrn_uffd_numbers *number, uintptr_t start, uintptr_t end,
		struct mrn_uffd_found *found)
{
	int n = plain_mappings(number->maps, start, end);

	found->plain = n > 0;
	if (n)
		found->files = false;
	if (n == 1)
		return is_event_unread(number->fd, start) && !MRN_BROKEN(ARMED_UNREAD) ? -EAGAIN
										       : 0;
	return look_at_all(number, start, end, &found->files);
}

/* True in doubt. */
static bool is_mapped(int maps, uintptr_t start, uintptr_t end)
{
	struct mrn_mapping m;
	int r = maps < 0 ? -EBADF : mrn_maps_query(maps, start, &m);

	return r ? r != -ENOENT : m.start < end;
}

/*
 * What REGISTER's error says of the range, as MRN_ONCE_BIT(...). 0 if it says nothing: the number is another file's by
 * now.
 */
static uint64_t reason_of(int error, const struct mrn_uffd_numbers *number, uintptr_t start,
			  uintptr_t end)
{
	switch (error) {
	case -EBUSY:
		return MRN_ONCE_BIT(MRN_ONCE_FOREIGN);
	case -ENOMEM:
		return MRN_ONCE_BIT(MRN_ONCE_MAPPINGS);
	case -EINVAL:
	case -EPERM:
		/* Also if nothing is mapped. */
		return MRN_ONCE_BIT(is_mapped(number->maps, start, end) ? MRN_ONCE_KIND
									: MRN_ONCE_NOT_MAPPED);
	default:
		return 0;
	}
}

/*
 * REGISTER fails with EINVAL for a kind of mapping that cannot be armed, EPERM for a shared one without write access to
 * the file, EBUSY where another userfaultfd is registered, ENOMEM when the process has the most mappings allowed, and
 * then it may have armed a part. All of these make the range good for one use.
 */
int mrn_uffd_arm_by(const struct mrn_uffd_numbers *number, uintptr_t start, uintptr_t end,
		    struct mrn_uffd_found *found)
{
	int r = mrn_uffd_register(number->fd, start, end);

	found->plain = false;
	if (r) {
		found->once = reason_of(r, number, start, end);
		return r == -ENOMEM ? MRN_UFFD_IN_PART : MRN_USE_ONCE;
	}
	MRN_HOOK(uffd_registered);
	if (!MRN_BROKEN(UFFD_HOLES)) {
		r = look(number, start, end, found);
		if (r == -EAGAIN || r == -EBADF)
			return r;
	}
	if (!r)
		return 0;
	found->once = MRN_ONCE_BIT(MRN_ONCE_NOT_MAPPED);
	return MRN_UFFD_IN_PART;
}

/* Of the kernel. Looked up once: the thread that disarms may be in a sandbox. */
static bool unregister_takes_all;

void mrn_uffd_know_kernel(void)
{
	unregister_takes_all = !mrn_kernel_is_at_least(6, 17);
}

/*
 * Before Linux 6.17 UNREGISTER also takes ranges of other userfaultfds: the program's own, or managed memory's.
 * REGISTER tells whether another one has some. It checks the whole range before it changes any: so if it fails for want
 * of memory, no other one has; if it fails otherwise, nothing was ever armed by these bounds.
 */
static int look_for_others(int fd, uintptr_t start, uintptr_t end)
{
	int r = mrn_uffd_register(fd, start, end);

	return r == -ENOMEM ? 0 : r;
}

int mrn_uffd_disarm_by(int fd, uintptr_t start, uintptr_t end)
{
	struct uffdio_range range = {.start = start, .len = end - start};

	if (unregister_takes_all || MRN_BROKEN(UFFD_TAKES_ALL)) {
		int r = look_for_others(fd, start, end);

		if (r)
			return r;
	}
	return (int)mrn_sys3(SYS_ioctl, fd, UFFDIO_UNREGISTER, (long)&range);
}

int mrn_uffd_disarm_pieces(const struct mrn_uffd_numbers *number, uintptr_t start, uintptr_t end)
{
	uintptr_t piece_end;
	int r;

	while ((r = mrn_pagemap_next_armed(number->pagemap, &start, end, &piece_end)) > 0) {
		/* Another userfaultfd's piece stays as it is. */
		mrn_uffd_disarm_by(number->fd, start, piece_end);
		start = piece_end;
	}
	return r;
}

/* The kernel refuses to disarm a file on disk that is not armed, and with it the whole range. */
int mrn_uffd_disarm_any(const struct mrn_uffd_numbers *number, uintptr_t start, uintptr_t end)
{
	int r = mrn_uffd_disarm_by(number->fd, start, end);

	return r && number->pagemap >= 0 ? mrn_uffd_disarm_pieces(number, start, end) : r;
}

static bool disarm_mapping(const struct mrn_mapping *m, void *fd)
{
	mrn_uffd_disarm_by(*(const int *)fd, m->start, m->end);
	return true;
}

void mrn_uffd_disarm_all_by(int fd)
{
	mrn_maps_visit(disarm_mapping, &fd);
}
