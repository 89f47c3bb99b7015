/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/tasks.h"

#include <fcntl.h>
#include <string.h>

#include "os/syscall.h"

#include "os/event_path.h"

/* The kernel's structure; libc's may differ. */
struct entry {
	uint64_t inode;
	int64_t next;
	uint16_t length;
	uint8_t type;
	char name[];
};

/* 0 for what is no thread. */
static long number(const char *name)
{
	long n = 0;

	for (; *name >= '0' && *name <= '9'; name++)
		n = n * 10 + (*name - '0');
	return n;
}

int mrn_tasks_visit(bool (*visit)(long name, void *arg), void *arg)
{
	long fd = mrn_sys4(SYS_openat, AT_FDCWD, (long)"/proc/self/task",
			   O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	_Alignas(struct entry) char buf[256];
	bool go_on = true;
	long n = 0;

	if (fd < 0)
		return (int)fd;
	while (go_on && (n = mrn_sys3(SYS_getdents64, fd, (long)buf, sizeof(buf))) > 0)
		for (long at = 0; at < n && go_on;) {
			const struct entry *e = (const struct entry *)(buf + at);
			long name = number(e->name);

			at += e->length;
			go_on = !name || visit(name, arg);
		}
	mrn_sys1(SYS_close, fd);
	return n < 0 ? (int)n : 0;
}

#define PATH_SIZE 64

static void path_of(char *path, long name, const char *file)
{
	char digits[24], *first = digits + sizeof(digits);

	*--first = '\0';
	*--first = '/';
	for (long rest = name; rest; rest /= 10)
		*--first = (char)('0' + rest % 10);
	strcpy(path, name ? "/proc/self/task/" : "/proc/thread-self");
	strcat(path, first);
	strcat(path, file);
}

int mrn_task_about(long name, const char *file, char *into, size_t size)
{
	char path[PATH_SIZE];
	long fd, n;

	path_of(path, name, file);
	fd = mrn_sys4(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return (int)fd;
	n = mrn_sys3(SYS_read, fd, (long)into, (long)(size - 1));
	mrn_sys1(SYS_close, fd);
	if (n < 0)
		return (int)n;
	into[n] = '\0';
	return 0;
}

int mrn_task_status(long name, struct mrn_status *status)
{
	char path[PATH_SIZE];

	path_of(path, name, "status");
	return mrn_status_read(path, status);
}
