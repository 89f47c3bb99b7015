/* SPDX-License-Identifier: BSD-3-Clause */
/* The program's own userfaultfd moves pages. */
#include "coverage/cause/way.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "os/syscall.h"

/* Empties the spare, so that the place's pages can be moved there. */
static int prepare_uffd(struct cause_place *p)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	int r = cause_prepare_anonymous(p);

	if (!r)
		r = cause_map(p->spare, p->length, -1);
	if (r)
		return r;
	p->fd = (int)mrn_sys1(SYS_userfaultfd, O_CLOEXEC);
	reg.range.start = (uintptr_t)p->spare;
	reg.range.len = p->length;
	if (p->fd < 0 || mrn_sys3(SYS_ioctl, p->fd, (long)UFFDIO_API, (long)&api) ||
	    mrn_sys3(SYS_ioctl, p->fd, (long)UFFDIO_REGISTER, (long)&reg))
		return cause_lacks(p, "no userfaultfd here");
	return 0;
}

static int change_uffd_move(struct cause_place *p)
{
	struct {
		uint64_t to, from, length, mode;
		int64_t moved;
	} move = {.to = (uintptr_t)p->spare, .from = (uintptr_t)p->addr, .length = p->length};
	const unsigned long request = _IOWR(UFFDIO, 5, move);
	int r = (int)CAUSE_CALL(p, SYS_ioctl, p->fd, (long)request, (long)&move);

	if (r == -EINVAL)
		return cause_lacks(p, "UFFDIO_MOVE needs Linux 6.8");
	/* The kernel refuses pinned pages: they stay. */
	return r == -EBUSY ? 0 : r;
}

const struct cause_way cause_uffd_move = {.prepare = prepare_uffd, .change = change_uffd_move};
