/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/beside.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int bench_find_beside(char *path, size_t size, const char *name)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash) {
		*slash = '\0';
		if (snprintf(path, size, "%s/%s", self, name) < (int)size && !access(path, R_OK))
			return 0;
	}
	if (snprintf(path, size, "%s/%s", MRN_LIBEXECDIR, name) < (int)size && !access(path, R_OK))
		return 0;
	return -ENOENT;
}
