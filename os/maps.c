/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "os/check.h"
#include "os/fd.h"
#include "os/syscall.h"

#include "os/event_path.h"

struct procmap_query {
	uint64_t size, query_flags, query_addr;
	uint64_t vma_start, vma_end, vma_flags, vma_page_size, vma_offset, inode;
	uint32_t dev_major, dev_minor, vma_name_size, build_id_size;
	uint64_t vma_name_addr, build_id_addr;
};

#define PROCMAP_QUERY	     _IOWR('f', 17, struct procmap_query)
#define VMA_READABLE	     0x01
#define VMA_WRITABLE	     0x02
#define VMA_EXECUTABLE	     0x04
#define VMA_SHARED	     0x08
#define COVERING_OR_NEXT_VMA 0x10

static const char *number(const char *p, const char *end, unsigned int base, uint64_t *out)
{
	uint64_t v = 0;

	for (; p < end; p++) {
		unsigned int digit;

		if (*p >= '0' && *p <= '9')
			digit = (unsigned int)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			digit = (unsigned int)(*p - 'a') + 10;
		else
			break;
		if (digit >= base)
			break;
		v = v * base + digit;
	}
	*out = v;
	return p;
}

/* "start-end rwxp offset major:minor inode   path"; *end is 0. */
static bool parse(const char *p, const char *end, struct mrn_mapping *m)
{
	uint64_t start, stop, major, minor;

	p = number(p, end, 16, &start);
	if (p == end || *p++ != '-')
		return false;
	p = number(p, end, 16, &stop);
	if (end - p < 6)
		return false;
	m->readable = p[1] == 'r';
	m->writable = p[2] == 'w';
	m->executable = p[3] == 'x';
	m->shared = p[4] == 's';
	p = number(p + 6, end, 16, &m->offset);
	if (p == end)
		return false;
	p = number(p + 1, end, 16, &major);
	if (p == end || *p++ != ':')
		return false;
	p = number(p, end, 16, &minor);
	if (p == end)
		return false;
	p = number(p + 1, end, 10, &m->inode);
	while (p < end && *p == ' ')
		p++;
	m->path = p;
	m->start = (uintptr_t)start;
	m->end = (uintptr_t)stop;
	m->dev_major = (unsigned int)major;
	m->dev_minor = (unsigned int)minor;
	m->page_size = 0;
	return true;
}

static const char maps[] = "/proc/self/maps";

int mrn_maps_open(void)
{
	return (int)mrn_sys4(SYS_openat, AT_FDCWD, (long)maps, O_RDONLY | O_CLOEXEC, 0);
}

bool mrn_maps_close(int fd)
{
	bool ours = mrn_fd_is_file(fd, maps);

	if (ours)
		mrn_sys1(SYS_close, fd);
	return ours;
}

int mrn_maps_visit(bool (*visit)(const struct mrn_mapping *mapping, void *arg), void *arg)
{
	/* Fields of a fixed width, then the path from column 73 on. */
	enum { HEAD = 80 + MRN_MAPS_PATH_MAX };
	char buf[1024], line[HEAD + 1];
	size_t len = 0;
	bool go_on = true, any = false;
	long fd, n = 0;
	int err = 0;

	fd = mrn_maps_open();
	if (fd < 0)
		return (int)fd;
	while (go_on && !err && (n = mrn_sys3(SYS_read, fd, (long)buf, sizeof(buf))) != 0) {
		if (n < 0 && n != -EINTR)
			err = (int)n;
		for (long i = 0; i < n && go_on && !err; i++) {
			struct mrn_mapping m;

			if (buf[i] != '\n') {
				if (len < HEAD)
					line[len++] = buf[i];
				continue;
			}
			line[len] = '\0';
			/* A line that does not parse is another file's, which has this number by now. */
			if (!parse(line, line + len, &m))
				err = -EIO;
			else
				go_on = visit(&m, arg);
			any = true;
			len = 0;
		}
	}
	mrn_sys1(SYS_close, fd);
	/* An empty file is another file, too. */
	return err ? err : any ? 0 : -EIO;
}

struct window {
	uintptr_t addr;
	struct mrn_mapping *mappings;
	size_t n, max;
};

static bool collect(const struct mrn_mapping *mapping, void *arg)
{
	struct window *w = arg;

	if (mapping->end > w->addr) {
		w->mappings[w->n] = *mapping;
		w->mappings[w->n++].path = NULL;
	}
	return w->n < w->max;
}

long mrn_maps_from(uintptr_t addr, struct mrn_mapping *mappings, size_t max)
{
	struct window w = {.addr = addr, .mappings = mappings, .max = max};
	int r = mrn_maps_visit(collect, &w);

	return r ? r : (long)w.n;
}

static char *hex(char *p, uintptr_t v)
{
	unsigned int digits = 1;

	while (digits < 2 * sizeof(v) && v >> (4 * digits))
		digits++;
	while (digits--)
		*p++ = "0123456789abcdef"[v >> (4 * digits) & 15];
	return p;
}

static int look_at(const char *path, struct stat *st, struct statfs *fs)
{
	long r = mrn_sys4(SYS_newfstatat, AT_FDCWD, (long)path, (long)st, 0);

	return (int)(r ? r : mrn_sys2(SYS_statfs, (long)path, (long)fs));
}

int mrn_mapping_file(const struct mrn_mapping *m, struct stat *st, struct statfs *fs)
{
	static const char folder[] = "/proc/self/map_files/";
	char link[sizeof(folder) + 4 * sizeof(uintptr_t) + 1], *p = link + sizeof(folder) - 1;

	memcpy(link, folder, sizeof(folder));
	p = hex(p, m->start);
	*p++ = '-';
	*hex(p, m->end) = '\0';
	if (!look_at(link, st, fs))
		return 0;
	if (!m->path || *m->path != '/' || look_at(m->path, st, fs))
		return -ENOENT;
	return st->st_ino == m->inode && major(st->st_dev) == m->dev_major &&
			       minor(st->st_dev) == m->dev_minor
		       ? 0
		       : -ENOENT;
}

int mrn_maps_query(int fd, uintptr_t addr, struct mrn_mapping *m)
{
	struct procmap_query q = {
		.size = sizeof(q),
		.query_flags = COVERING_OR_NEXT_VMA,
		.query_addr = addr,
	};
	long r = MRN_BROKEN(PROCMAP_QUERY) ? -ENOTTY
					   : mrn_sys3(SYS_ioctl, fd, (long)PROCMAP_QUERY, (long)&q);

	if (r < 0)
		return (int)r;
	*m = (struct mrn_mapping){
		.start = (uintptr_t)q.vma_start,
		.end = (uintptr_t)q.vma_end,
		.offset = q.vma_offset,
		.dev_major = q.dev_major,
		.dev_minor = q.dev_minor,
		.inode = q.inode,
		.readable = q.vma_flags & VMA_READABLE,
		.writable = q.vma_flags & VMA_WRITABLE,
		.executable = q.vma_flags & VMA_EXECUTABLE,
		.shared = q.vma_flags & VMA_SHARED,
		.page_size = q.vma_page_size,
	};
	return 0;
}

int mrn_maps_next(int fd, uintptr_t addr, struct mrn_mapping *m)
{
	int r = mrn_maps_query(fd, addr, m);
	long n;

	if (!r || r == -ENOENT)
		return r;
	n = mrn_maps_from(addr, m, 1);
	if (n >= 0)
		return n ? 0 : -ENOENT;
	/* A file that is not there says nothing of the address. */
	return n == -ENOENT ? -EIO : (int)n;
}
