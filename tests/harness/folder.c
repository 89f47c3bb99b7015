/* SPDX-License-Identifier: BSD-3-Clause */
/* A folder for the files of a test. The runner removes it when the test has ended, even by a failed check. */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/harness/internal.h"

/* The test's process, also in its forked children. */
static pid_t test;

__attribute__((constructor)) static void remember(void)
{
	test = getpid();
}

static void name_of(pid_t pid, char *path, size_t size)
{
	snprintf(path, size, "/tmp/mrn-test-%d", (int)pid);
}

const char *test_folder(void)
{
	static char path[32];

	if (!*path) {
		name_of(test, path, sizeof(path));
		CHECK_MSG(!mkdir(path, 0755) || errno == EEXIST, "%s: %m", path);
		/* Whatever the umask: other users may have to look there. */
		CHECK_EQ(chmod(path, 0755), 0);
	}
	return path;
}

const char *test_path(char *path, size_t size, const char *name)
{
	CHECK((size_t)snprintf(path, size, "%s/%s", test_folder(), name) < size);
	return path;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *place)
{
	(void)st;
	(void)kind;
	(void)place;
	remove(path);
	return 0;
}

void test_folder_remove(pid_t pid)
{
	char path[32];
	struct stat st;

	name_of(pid, path, sizeof(path));
	if (!lstat(path, &st) && S_ISDIR(st.st_mode) && st.st_uid == geteuid())
		nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
