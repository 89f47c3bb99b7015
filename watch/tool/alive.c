/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/tool/alive.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint32_t alive_own_number(void)
{
	char text[16] = "";
	ssize_t n = readlink("/proc/self", text, sizeof(text) - 1);

	return n > 0 ? (uint32_t)strtoul(text, NULL, 10) : 0;
}

bool alive_is_there(uint32_t pid, bool by_proc)
{
	char path[32];

	if (!by_proc)
		return !kill((pid_t)pid, 0) || errno != ESRCH;
	snprintf(path, sizeof(path), "/proc/%u", pid);
	return !access(path, F_OK) || errno != ENOENT;
}

bool alive_is_zombie(uint32_t pid)
{
	char path[32], text[1024], state, *at;
	int fd, threads;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	/* The name may have any character in it. */
	at = strrchr(text, ')');
	/* A main thread that has ended before others is a zombie, too. */
	return at &&
	       sscanf(at, ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %d",
		      &state, &threads) == 2 &&
	       state == 'Z' && threads <= 1;
}
