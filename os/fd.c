/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "os/syscall.h"

/* Debian 12's <linux/close_range.h> cannot be included beside <unistd.h>. */
#define UNSHARE (1u << 1) /* CLOSE_RANGE_UNSHARE */

/* The usual size of a table; beyond it, numbers cost memory and time. */
#define TOP 1024

static struct rlimit limit_of_descriptors(void)
{
	struct rlimit l = {.rlim_cur = TOP, .rlim_max = TOP};

	mrn_sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)&l);
	return l;
}

uint64_t mrn_fd_size_max(void)
{
	struct rlimit l = {.rlim_cur = RLIM_INFINITY};

	mrn_sys4(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, (long)&l);
	return l.rlim_cur;
}

int mrn_fd_set_size(int fd, uint64_t size)
{
	return size > mrn_fd_size_max() ? -EFBIG : (int)mrn_sys2(SYS_ftruncate, fd, (long)size);
}

int mrn_fd_move_up(int fd)
{
	rlim_t top = limit_of_descriptors().rlim_cur;
	long high;

	if (fd < 0)
		return fd;
	if (top > TOP)
		top = TOP;
	/* The last sixteenth, from its lowest free number on. */
	high = mrn_sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, (long)(top - top / 16));
	if (high < 0)
		return fd;
	mrn_sys1(SYS_close, fd);
	return (int)high;
}

/* Closes [from, to]; the first time in a copy of the table. A kernel with UNSHARE does not even copy what is closed. */
static long close_range_of(unsigned int from, unsigned int to, unsigned int *unshare)
{
	long r = from > to ? 0 : mrn_sys3(SYS_close_range, from, to, *unshare);

	if (from <= to && !r)
		*unshare = 0;
	return r;
}

/* For Linux before 5.9, or a sandbox without close_range. */
static long close_one_by_one(unsigned int from, unsigned int to, unsigned int *unshare)
{
	rlim_t limit = limit_of_descriptors().rlim_max;
	long r = *unshare ? mrn_sys1(SYS_unshare, CLONE_FILES) : 0;

	if (r)
		return r;
	*unshare = 0;
	/* If there is no limit: the kernel's own bound, fs.nr_open. */
	if (limit > 1 << 20)
		limit = 1 << 20;
	for (uint64_t fd = from; fd <= to && fd < limit; fd++)
		mrn_sys1(SYS_close, (long)fd);
	return 0;
}

typedef long close_fn(unsigned int from, unsigned int to, unsigned int *unshare);

/* Closes the gaps between the numbers that are kept. */
static long keep(const int *fds, size_t n, close_fn *close_numbers)
{
	unsigned int unshare = UNSHARE;
	uint64_t from = 0;

	for (;;) {
		uint64_t next = UINT64_C(1) + UINT_MAX;
		long r;

		for (size_t i = 0; i < n; i++)
			if (fds[i] >= 0 && (uint64_t)fds[i] >= from && (uint64_t)fds[i] < next)
				next = (uint64_t)fds[i];
		r = next > from
			    ? close_numbers((unsigned int)from, (unsigned int)(next - 1), &unshare)
			    : 0;
		if (r)
			return r;
		if (next > UINT_MAX)
			return 0;
		from = next + 1;
	}
}

int mrn_fd_table_own(const int *fds, size_t n)
{
	long r = keep(fds, n, close_range_of);

	if (r)
		r = keep(fds, n, close_one_by_one);
	return (int)r;
}

bool mrn_fd_is_file(int fd, const char *path)
{
	struct stat here, there;

	return !mrn_sys4(SYS_newfstatat, fd, (long)"", (long)&here, AT_EMPTY_PATH) &&
	       !mrn_sys4(SYS_newfstatat, AT_FDCWD, (long)path, (long)&there, 0) &&
	       here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

int mrn_fd_mark(int fd, long tid)
{
	struct f_owner_ex owner = {.type = F_OWNER_TID, .pid = (pid_t)tid};

	return (int)mrn_sys3(SYS_fcntl, fd, F_SETOWN_EX, (long)&owner);
}

bool mrn_fd_is_marked(int fd, long tid)
{
	struct f_owner_ex owner = {.pid = 0};

	return fd >= 0 && tid && mrn_sys3(SYS_fcntl, fd, F_GETOWN_EX, (long)&owner) == 0 &&
	       owner.type == F_OWNER_TID && owner.pid == tid;
}

void mrn_fd_close_marked(int fd, long tid)
{
	if (mrn_fd_is_marked(fd, tid))
		mrn_sys1(SYS_close, fd);
}
