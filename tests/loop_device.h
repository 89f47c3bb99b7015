/* SPDX-License-Identifier: BSD-3-Clause */
/* A block device of a test's own, which takes privileges: skip where there is none. */
#ifndef TESTS_LOOP_DEVICE_H
#define TESTS_LOOP_DEVICE_H

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness/test.h"

/* Of what is in backing, at path; it goes with its last descriptor and mount. A descriptor, or -1. */
static inline int loop_device(int backing, char path[64])
{
	const struct loop_info64 goes_by_itself = {.lo_flags = LO_FLAGS_AUTOCLEAR};
	bool taken;
	int fd, number, control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	/* Another may take the number first. */
	do {
		number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
		snprintf(path, 64, "/dev/loop%d", number);
		fd = number < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
		taken = fd >= 0 && ioctl(fd, LOOP_SET_FD, backing) && errno == EBUSY;
		if (taken)
			close(fd);
	} while (taken);
	if (control >= 0)
		close(control);
	return fd >= 0 && ioctl(fd, LOOP_SET_STATUS64, &goes_by_itself) == 0 ? fd : -1;
}

/* Another node of it: 0 or -1. */
static inline int loop_node(int fd, const char *node)
{
	struct stat st;

	CHECK_EQ(fstat(fd, &st), 0);
	return mknod(node, S_IFBLK | 0600, st.st_rdev);
}

#endif
