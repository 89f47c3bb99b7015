/* SPDX-License-Identifier: BSD-3-Clause */
/* madvise and its relatives. */
#include "coverage/cause/way.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "os/syscall.h"

#define HUGE_PAGE ((size_t)2 << 20)

/* C libraries' headers are older than kernels. */
#define GUARD_REMOVE 103

static int advise(struct cause_place *p)
{
	int r = (int)CAUSE_CALL(p, SYS_madvise, (long)p->addr, (long)p->length, p->cause->arg);

	return r == -EINVAL ? cause_lacks(p, "this kernel lacks this advice") : r;
}

const struct cause_way cause_advise = {.prepare = cause_prepare_anonymous, .change = advise};
const struct cause_way cause_advise_file = {.prepare = cause_prepare_memfd, .change = advise};

/* Locked, for the advice on locked memory; not locked if the limit is too low. */
static int prepare_locked(struct cause_place *p)
{
	int r = cause_prepare_anonymous(p);

	if (!r)
		mrn_sys2(SYS_mlock, (long)p->addr, (long)p->length);
	return r;
}

const struct cause_way cause_advise_locked = {.prepare = prepare_locked, .change = advise};

static int prepare_huge(struct cause_place *p)
{
	int r;

	p->length = HUGE_PAGE;
	r = cause_reserve(p, HUGE_PAGE);
	if (!r)
		r = cause_map(p->addr, p->length, -1);
	/* Small pages, to be collapsed. */
	if (!r)
		mrn_sys3(SYS_madvise, (long)p->addr, (long)p->length, MADV_NOHUGEPAGE);
	return r;
}

static int change_collapse(struct cause_place *p)
{
	int r;

	mrn_sys3(SYS_madvise, (long)p->addr, (long)p->length, MADV_HUGEPAGE);
	r = advise(p);
	/* The kernel refuses pinned pages: they stay. */
	return r == -EAGAIN || r == -EBUSY ? 0 : r;
}

const struct cause_way cause_collapse = {.prepare = prepare_huge, .change = change_collapse};

static int refill_guard(struct cause_place *p)
{
	return (int)mrn_sys3(SYS_madvise, (long)p->addr, (long)p->length, GUARD_REMOVE);
}

const struct cause_way cause_guard = {.prepare = cause_prepare_anonymous,
				      .change = advise,
				      .refill = refill_guard};

static int prepare_process(struct cause_place *p)
{
	p->fd = (int)mrn_sys2(SYS_pidfd_open, getpid(), 0);
	if (p->fd < 0)
		return cause_lacks(p, "pidfd_open needs Linux 5.3");
	return cause_prepare_anonymous(p);
}

static int change_process_madvise(struct cause_place *p)
{
	const struct iovec range = {.iov_base = p->addr, .iov_len = p->length};
	long n;

	if (p->cause->raw)
		n = mrn_sys6(SYS_process_madvise, p->fd, (long)&range, 1, p->cause->arg, 0, 0);
	else if ((n = process_madvise(p->fd, &range, 1, p->cause->arg, 0)) < 0)
		n = -errno;
	if (n == -EINVAL || n == -EPERM)
		return cause_lacks(p, "this kernel's process_madvise takes harmless advice only");
	return n < 0 ? (int)n : 0;
}

const struct cause_way cause_process_madvise = {.prepare = prepare_process,
						.change = change_process_madvise};
