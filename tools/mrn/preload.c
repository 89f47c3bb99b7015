/* SPDX-License-Identifier: BSD-3-Clause */
#include "tools/mrn/preload.h"

#include <dlfcn.h>
#include <limits.h>
#include <mrn/mmu_notifier.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/mrn/cli.h"

/* The folder of libmrn. */
static bool find_folder(char dir[PATH_MAX])
{
	Dl_info info;

	if (!dladdr((void *)(uintptr_t)mrn_mm_self, &info) || !realpath(info.dli_fname, dir))
		return false;
	*strrchr(dir, '/') = '\0';
	return true;
}

/*
 * Put before the folder. Only glibc knows $LIB: another loader, like musl's, finds no such file and goes on without;
 * otherwise it would load our libraries, and fail. Without such a folder the plain path is used.
 */
static const char *before_folder(const char *dir)
{
	static const char before[] = "/usr/$LIB/../../../../..";
	char one[PATH_MAX + 64];
	void *libmrn;

	snprintf(one, sizeof(one), "%s%s/libmrn.so.0", before, dir);
	libmrn = dlopen(one, RTLD_LAZY | RTLD_NOLOAD);
	if (!libmrn)
		return "";
	dlclose(libmrn);
	return before;
}

/*
 * Where those are installed that no program links with; or beside libmrn, as all are in a build folder. In this order: an
 * earlier version may have left one beside libmrn.
 */
static bool find_library(char one[PATH_MAX + 64], const char *dir, const char *name)
{
	snprintf(one, PATH_MAX + 64, "%s/" MRN_PRELOADS "/%s", dir, name);
	if (!access(one, R_OK))
		return true;
	snprintf(one, PATH_MAX + 64, "%s/%s", dir, name);
	return !access(one, R_OK);
}

bool preload_has(const char *name)
{
	char dir[PATH_MAX], one[PATH_MAX + 64];

	return find_folder(dir) && find_library(one, dir, name);
}

bool preload_list(const char *command, const char *const *names, char *list, size_t size,
		  char *last, size_t last_size)
{
	const char *before;
	char dir[PATH_MAX];
	size_t n = 0;

	if (!find_folder(dir)) {
		cli_say(command, "cannot find the folder of libmrn");
		return false;
	}
	if (strpbrk(dir, ": \t\n$")) {
		cli_say(command, "%s: LD_PRELOAD cannot name a library in such a folder", dir);
		return false;
	}
	before = before_folder(dir);
	for (; *names; names++) {
		char one[PATH_MAX + 64];

		if (!find_library(one, dir, *names)) {
			cli_say(command, "%s is missing", one);
			return false;
		}
		n += (size_t)snprintf(list + n, n < size ? size - n : 0, "%s%s%s", n ? ":" : "",
				      before, one);
		if (n >= size || strlen(one) >= last_size) {
			cli_say(command, "%s: too long a path for LD_PRELOAD", dir);
			return false;
		}
		strcpy(last, one);
	}
	return true;
}

bool preload_extend(const char *variable, const char *value, bool in_front)
{
	const char *had = getenv(variable);
	char *both;
	bool ok;

	if (!had)
		return !setenv(variable, value, 1);
	if (asprintf(&both, "%s:%s", in_front ? value : had, in_front ? had : value) < 0)
		return false;
	ok = !setenv(variable, both, 1);
	free(both);
	return ok;
}
