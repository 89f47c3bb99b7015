/* SPDX-License-Identifier: BSD-3-Clause */
/* Mapped files that lose pages. */
#include "coverage/cause/way.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "os/syscall.h"

static int change_fallocate(struct cause_place *p)
{
	return (int)CAUSE_CALL(p, SYS_fallocate, p->fd, p->cause->arg, 0, (long)p->length);
}

const struct cause_way cause_punch_hole = {.prepare = cause_prepare_memfd,
					   .change = change_fallocate};

/* Once XFS's own call; by now all file systems have it. */
static int change_by_ioctl(struct cause_place *p)
{
	struct {
		int16_t type, whence;
		int64_t start, length;
		int32_t more[6];
	} hole = {.length = (int64_t)p->length};
	const unsigned long unresvsp = _IOW('X', 41, hole);

	return (int)CAUSE_CALL(p, SYS_ioctl, p->fd, (long)unresvsp, (long)&hole);
}

const struct cause_way cause_punch_hole_ioctl = {.prepare = cause_prepare_memfd,
						 .change = change_by_ioctl};

/*
 * A file on a file system that can do this, which tmpfs cannot: tried on the new file first. Longer than the place,
 * since a range that reaches the end cannot be collapsed; its size is a multiple of all block sizes.
 */
static int open_file(struct cause_place *p, const char *folder)
{
	int fd = folder ? open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;

	if (fd < 0)
		return -1;
	if (!mrn_sys4(SYS_fallocate, fd, 0, 0, (long)(8 * p->length)) &&
	    !mrn_sys4(SYS_fallocate, fd, p->cause->arg, 0, (long)p->length) &&
	    !mrn_sys2(SYS_ftruncate, fd, (long)(8 * p->length)))
		return fd;
	close(fd);
	return -1;
}

static int prepare_file(struct cause_place *p)
{
	const char *folders[] = {getenv("TMPDIR"), "/var/tmp", "/tmp", "."};
	int r = cause_reserve(p, (size_t)getpagesize());

	for (unsigned int i = 0; p->fd < 0 && i < sizeof(folders) / sizeof(folders[0]); i++)
		p->fd = open_file(p, folders[i]);
	if (p->fd < 0)
		return cause_lacks(p, "no file system for temporary files supports this here");
	return r ? r : cause_map(p->addr, p->length, p->fd);
}

const struct cause_way cause_fallocate = {.prepare = prepare_file, .change = change_fallocate};

static int change_ftruncate(struct cause_place *p)
{
	return (int)CAUSE_CALL(p, SYS_ftruncate, p->fd, 0);
}

const struct cause_way cause_ftruncate = {.prepare = cause_prepare_memfd,
					  .change = change_ftruncate,
					  .refill = cause_refill_length};

/* The file's path; a memfd has one in /proc, too. */
#define PATH_SIZE 32

static const char *path_of(const struct cause_place *p, char path[PATH_SIZE])
{
	snprintf(path, PATH_SIZE, "/proc/self/fd/%d", p->fd);
	return path;
}

static int change_truncate(struct cause_place *p)
{
	char path[PATH_SIZE];

	return (int)CAUSE_CALL(p, SYS_truncate, (long)path_of(p, path), 0);
}

const struct cause_way cause_truncate = {.prepare = cause_prepare_memfd,
					 .change = change_truncate,
					 .refill = cause_refill_length};

static int close_again(long fd)
{
	if (fd >= 0)
		mrn_sys1(SYS_close, fd);
	return fd < 0 ? (int)fd : 0;
}

static int change_open(struct cause_place *p)
{
	const int flags = O_WRONLY | O_TRUNC | O_CLOEXEC;
	char path[PATH_SIZE];

	return close_again(CAUSE_CALL(p, SYS_openat, AT_FDCWD, (long)path_of(p, path), flags));
}

const struct cause_way cause_open = {.prepare = cause_prepare_memfd,
				     .change = change_open,
				     .refill = cause_refill_length};

/* Not for a memfd: no other file can name its mount. */
static int change_open_handle(struct cause_place *p)
{
	struct {
		struct file_handle h;
		char bytes[128];
	} handle = {.h.handle_bytes = sizeof(handle.bytes)};
	const int flags = O_WRONLY | O_TRUNC | O_CLOEXEC;
	char path[PATH_SIZE];
	long fd;
	int id;

	if (name_to_handle_at(AT_FDCWD, path_of(p, path), &handle.h, &id, AT_SYMLINK_FOLLOW))
		return cause_lacks(p, "a memfd has no handle here");
	fd = CAUSE_CALL(p, SYS_open_by_handle_at, p->fd, (long)&handle, flags);
	return fd == -EPERM ? cause_lacks(p, "no file may be opened by its handle here")
			    : close_again(fd);
}

const struct cause_way cause_open_handle = {.prepare = cause_prepare_memfd,
					    .change = change_open_handle,
					    .refill = cause_refill_length};

static int change_creat(struct cause_place *p)
{
	char path[PATH_SIZE];
	int fd = creat(path_of(p, path), 0600);

	return close_again(fd < 0 ? -errno : fd);
}

const struct cause_way cause_creat = {.prepare = cause_prepare_memfd,
				      .change = change_creat,
				      .refill = cause_refill_length};

static int change_fopen(struct cause_place *p)
{
	char path[PATH_SIZE];
	FILE *f = fopen(path_of(p, path), "w");

	if (!f)
		return -errno;
	fclose(f);
	return 0;
}

const struct cause_way cause_fopen = {.prepare = cause_prepare_memfd,
				      .change = change_fopen,
				      .refill = cause_refill_length};
