/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "os/syscall.h"

/*
 * Best first: a full descriptor; the device file, which an administrator may have opened to a group; a descriptor for
 * faults from user mode only, which anyone may have. A source handles no faults, so for it the last is as good as the
 * first, if the kernel grants the events on it.
 */
static long open_any(void)
{
	long fd = mrn_sys1(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), dev, err;

	if (fd >= 0 || fd == -ENOSYS)
		return fd;
	err = fd;
	dev = mrn_sys4(SYS_openat, AT_FDCWD, (long)"/dev/userfaultfd", O_RDWR | O_CLOEXEC, 0);
	if (dev >= 0) {
		fd = mrn_sys3(SYS_ioctl, dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
		mrn_sys1(SYS_close, dev);
		if (fd >= 0)
			return fd;
	}
	fd = mrn_sys1(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	return fd >= 0 ? fd : err;
}

static long handshake(long fd, uint64_t features, uint64_t *have)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	long r = mrn_sys3(SYS_ioctl, fd, UFFDIO_API, (long)&api);

	*have = api.features;
	return r;
}

int mrn_uffd_open(uint64_t required, uint64_t wanted, uint64_t *got)
{
	uint64_t have;
	long fd = open_any(), r;

	if (fd < 0)
		return (int)fd;
	/* A descriptor allows one handshake, so the first descriptor only asks which features there are. */
	r = handshake(fd, 0, &have);
	mrn_sys1(SYS_close, fd);
	if (r < 0)
		return (int)r;
	if ((have & required) != required)
		return -EOPNOTSUPP;
	fd = open_any();
	if (fd < 0)
		return (int)fd;
	*got = required | (wanted & have);
	r = handshake(fd, *got, &have);
	if (r < 0) {
		mrn_sys1(SYS_close, fd);
		return (int)r;
	}
	return (int)fd;
}
