/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>

#include "os/syscall.h"

#include "os/event_path.h"

/* One line of maps: everything before the path; the path is skipped without being kept. */
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

/* "start-end rwxp offset major:minor inode" */
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
	number(p + 1, end, 10, &m->inode);
	m->start = (uintptr_t)start;
	m->end = (uintptr_t)stop;
	m->dev_major = (unsigned int)major;
	m->dev_minor = (unsigned int)minor;
	return true;
}

int mrn_maps_visit(bool (*visit)(const struct mrn_mapping *mapping, void *arg), void *arg)
{
	enum { HEAD = 128 }; /* longer than all fields before the path */
	char buf[1024], line[HEAD];
	size_t len = 0;
	bool go_on = true;
	long fd, n;

	fd = mrn_sys4(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return (int)fd;
	while (go_on && (n = mrn_sys3(SYS_read, fd, (long)buf, sizeof(buf))) != 0) {
		if (n == -EINTR)
			continue;
		if (n < 0)
			break;
		for (long i = 0; i < n && go_on; i++) {
			struct mrn_mapping m;

			if (buf[i] != '\n') {
				if (len < HEAD)
					line[len++] = buf[i];
				continue;
			}
			if (parse(line, line + len, &m))
				go_on = visit(&m, arg);
			len = 0;
		}
	}
	mrn_sys1(SYS_close, fd);
	return go_on && n < 0 ? (int)n : 0;
}
