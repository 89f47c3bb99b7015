/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/libc_call.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static long result(long r)
{
	return r == -1 ? -errno : r;
}

long mrn_libc_call(long nr, const long a[6])
{
	void *addr = (void *)a[0];
	size_t size = (size_t)a[1];
	int fd = (int)a[0];

	switch (nr) {
	case SYS_fallocate:
		return result(fallocate(fd, (int)a[1], a[2], a[3]));
	case SYS_ftruncate:
		return result(ftruncate(fd, a[1]));
	case SYS_getsockopt:
		return result(
			getsockopt(fd, (int)a[1], (int)a[2], (void *)a[3], (socklen_t *)a[4]));
	case SYS_ioctl:
		return result(ioctl(fd, (unsigned long)a[1], a[2]));
	case SYS_madvise:
		return result(madvise(addr, size, (int)a[2]));
	case SYS_mmap:
		return result((long)mmap(addr, size, (int)a[2], (int)a[3], (int)a[4], a[5]));
	case SYS_mprotect:
		return result(mprotect(addr, size, (int)a[2]));
	case SYS_mremap:
		return result((long)mremap(addr, size, (size_t)a[2], (int)a[3], (void *)a[4]));
	case SYS_munmap:
		return result(munmap(addr, size));
	case SYS_open_by_handle_at:
		return result(open_by_handle_at(fd, (struct file_handle *)a[1], (int)a[2]));
	case SYS_openat:
		/* The more common function, for a file of the current folder. */
		return result(open((const char *)a[1], (int)a[2]));
	case SYS_pkey_mprotect:
		return result(pkey_mprotect(addr, size, (int)a[2], (int)a[3]));
	case SYS_remap_file_pages:
		return result(remap_file_pages(addr, size, (int)a[2], (size_t)a[3], (int)a[4]));
	case SYS_shmat:
		return result((long)shmat((int)a[0], (void *)a[1], (int)a[2]));
	case SYS_shmdt:
		return result(shmdt(addr));
	case SYS_truncate:
		return result(truncate((const char *)a[0], a[1]));
	default:
		return -ENOSYS;
	}
}
