/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/tool/origin.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "watch/shared/check.h"
#include "os/maps.h"
#include "os/pages.h"

/*
 * Compares device and inode as the kernel lists them for a mapping: found in our own list, too. 0, -ESTALE, or -errno:
 * not known.
 */
static int is_the_file(const struct origin *o, int fd)
{
	void *p = mmap(NULL, 1, PROT_READ, MAP_PRIVATE, fd, 0);
	struct mrn_mapping m;
	long n;

	if (p == MAP_FAILED)
		return -errno;
	n = mrn_maps_from((uintptr_t)p, &m, 1);
	munmap(p, 1);
	if (n < 0)
		return (int)n;
	if (MRN_BROKEN(WATCH_ORIGIN))
		return 0;
	return n == 1 && m.start <= (uintptr_t)p && m.inode == o->inode &&
			       m.dev_major == o->dev_major && m.dev_minor == o->dev_minor
		       ? 0
		       : -ESTALE;
}

/* A descriptor; -ESTALE: another file is there, or none; -errno: not known. */
static int try(const struct origin *o, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), r;

	/* A path that was cut off leads nowhere. */
	if (fd < 0)
		return errno == ENOENT && strlen(o->path) < MRN_MAPS_PATH_MAX ? -ESTALE : -errno;
	r = is_the_file(o, fd);
	if (!r)
		return fd;
	close(fd);
	return r;
}

static int try_all(const struct origin *o, uint32_t pid, const struct watch_module *m)
{
	char path[PATH_MAX];
	int fd;

	/* The file itself, deleted or not, if permitted. */
	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/map_files/%" PRIx64 "-%" PRIx64, pid,
		 m->start, m->end);
	fd = try(o, path);
	if (fd >= 0)
		return fd;
	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/root%s", pid, o->path);
	fd = try(o, path);
	return fd >= 0 ? fd : try(o, o->path);
}

static int64_t ns(const struct timespec *t)
{
	return t->tv_sec * INT64_C(1000000000) + t->tv_nsec;
}

/*
 * True if the file is younger than the program's mapping of it. A time in the future was set by hand, and proves
 * nothing.
 */
static bool is_younger(const struct timespec *modified, uint64_t since)
{
	struct timespec real, mono;

	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	return ns(modified) > ns(&real) - ns(&mono) + (int64_t)since && ns(modified) <= ns(&real);
}

/* The first time. */
static void look(struct origin *o, int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return;
	o->size = st.st_size;
	o->modified = st.st_mtim;
	o->replaced = is_younger(&o->modified, o->since);
	o->is_known = true;
}

int origin_init(struct origin *o, uint32_t pid, const struct watch_module *m, bool keep)
{
	*o = (struct origin){.path = strdup(m->path),
			     .inode = m->inode,
			     .dev_major = m->dev_major,
			     .dev_minor = m->dev_minor,
			     .since = m->since,
			     .fd = -1};
	if (!o->path)
		return -ENOMEM;
	if (*o->path != '/')
		return 0;
	o->fd = try_all(o, pid, m);
	if (o->fd < 0)
		return 0;
	look(o, o->fd);
	if (!keep) {
		close(o->fd);
		o->fd = -1;
	}
	return 0;
}

void origin_destroy(struct origin *o)
{
	free(o->path);
	if (o->fd >= 0)
		close(o->fd);
	o->fd = -1;
}

bool origin_is_of(const struct origin *o, const struct watch_module *m)
{
	return o->inode == m->inode && o->dev_major == m->dev_major &&
	       o->dev_minor == m->dev_minor && !strcmp(o->path, m->path);
}

static bool has_changed(const struct origin *o, int fd)
{
	struct stat st;

	if (MRN_BROKEN(WATCH_ORIGIN))
		return false;
	return fstat(fd, &st) || st.st_size != o->size || st.st_mtim.tv_sec != o->modified.tv_sec ||
	       st.st_mtim.tv_nsec != o->modified.tv_nsec;
}

void origin_check(struct origin *o)
{
	if (o->fd >= 0 && has_changed(o, o->fd))
		o->replaced = true;
}

int origin_open(struct origin *o)
{
	int fd = o->fd;

	o->fd = -1;
	if (fd < 0 && !o->replaced)
		fd = try(o, o->path);
	if (fd >= 0 && !o->is_known)
		look(o, fd);
	else if (fd == -ESTALE || (fd >= 0 && has_changed(o, fd)))
		o->replaced = true;
	if (fd >= 0 && o->replaced) {
		close(fd);
		fd = -1;
	}
	return fd < 0 ? -1 : fd;
}
