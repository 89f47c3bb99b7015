/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/status.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "os/syscall.h"

#include "os/event_path.h"

/* True if *line starts with name; then moves *line behind it. */
static bool is(const char **line, const char *name)
{
	const size_t n = strlen(name);

	if (strncmp(*line, name, n))
		return false;
	*line += n;
	return true;
}

static long last_number(const char *line)
{
	long number = -1;
	char *end;

	for (;;) {
		long next = strtol(line, &end, 10);

		if (end == line)
			return number;
		number = next;
		line = end;
	}
}

static void take(struct mrn_status *s, const char *line)
{
	if (is(&line, "State:\t"))
		s->state = *line;
	else if (is(&line, "NSpid:"))
		s->number = last_number(line);
	else if (is(&line, "TracerPid:"))
		s->tracer = strtol(line, NULL, 10);
	else if (is(&line, "Seccomp:"))
		s->seccomp = strtol(line, NULL, 10);
	else if (is(&line, "Seccomp_filters:"))
		s->filters = strtol(line, NULL, 10);
	else if (is(&line, "SigPnd:"))
		s->pending = strtoull(line, NULL, 16);
	else if (is(&line, "SigBlk:"))
		s->blocked = strtoull(line, NULL, 16);
}

int mrn_status_read(const char *path, struct mrn_status *s)
{
	long fd = mrn_sys4(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0), n;
	/* A thread has at most 33 numbers, one per pid namespace. */
	char buf[256], line[288];
	size_t length = 0;

	*s = (struct mrn_status){.number = -1, .tracer = -1, .seccomp = -1, .filters = -1};
	if (fd < 0)
		return (int)fd;
	while ((n = mrn_sys3(SYS_read, fd, (long)buf, sizeof(buf))) > 0 || n == -EINTR)
		for (long i = 0; i < n; i++) {
			if (buf[i] != '\n') {
				if (length < sizeof(line) - 1)
					line[length++] = buf[i];
				continue;
			}
			line[length] = '\0';
			take(s, line);
			length = 0;
		}
	mrn_sys1(SYS_close, fd);
	return (int)n;
}
