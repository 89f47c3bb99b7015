/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fopen, freopen, shm_open: libc opens a file inside itself, and may truncate it. Not on the event path: these
 * allocate, so they may not be called there.
 */
#undef _FILE_OFFSET_BITS /* else the functions below would be named fopen64 and so on */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "source/interpose/file_change.h"
#include "source/interpose/wrapper.h"

/* The next library's function. Looked up at its first call, which may come before our constructors. */
static FILE *(*real_fopen)(const char *path, const char *mode);
static FILE *(*real_freopen)(const char *path, const char *mode, FILE *stream);
static int (*real_shm_open)(const char *name, int flags, mode_t mode);

#define LOOK_UP(name)                                                                         \
	do {                                                                                  \
		if (!__atomic_load_n(&real_##name, __ATOMIC_RELAXED))                         \
			__atomic_store_n(&real_##name,                                        \
					 (__typeof__(real_##name))(uintptr_t)dlsym(RTLD_NEXT, \
										   #name),    \
					 __ATOMIC_RELAXED);                                   \
	} while (0)

/* The open flags of a stream's mode that matter here. */
static int flags_of(const char *mode)
{
	return *mode == 'w' ? O_TRUNC : 0;
}

MRN_INTERPOSED FILE *fopen(const char *path, const char *mode)
{
	struct mrn_file_change c;
	FILE *r;

	LOOK_UP(fopen);
	mrn_file_change_open(&c, AT_FDCWD, path, flags_of(mode));
	MRN_FILE_CHANGE(&c, r, real_fopen(path, mode), !r);
	return r;
}

MRN_INTERPOSED FILE *fopen64(const char *path, const char *mode) __attribute__((alias("fopen")));
MRN_INTERPOSED FILE *_IO_fopen(const char *path, const char *mode)
	__attribute__((alias("fopen"), malloc));

MRN_INTERPOSED FILE *freopen(const char *path, const char *mode, FILE *stream)
{
	struct mrn_file_change c;
	char same[32];
	FILE *r;

	LOOK_UP(freopen);
	/* Without a name freopen reopens the stream's own file. */
	snprintf(same, sizeof(same), "/proc/self/fd/%d", path ? -1 : fileno(stream));
	mrn_file_change_open(&c, AT_FDCWD, path ? path : same, flags_of(mode));
	MRN_FILE_CHANGE(&c, r, real_freopen(path, mode, stream), !r);
	return r;
}

MRN_INTERPOSED FILE *freopen64(const char *path, const char *mode, FILE *stream)
	__attribute__((alias("freopen")));

MRN_INTERPOSED int shm_open(const char *name, int flags, mode_t mode)
{
	char path[sizeof("/dev/shm/") + NAME_MAX];
	struct mrn_file_change c;
	int r;

	LOOK_UP(shm_open);
	if (!real_shm_open) {
		errno = ENOSYS;
		return -1;
	}
	/* libc refuses a name that is too long. */
	snprintf(path, sizeof(path), "/dev/shm/%s", name + strspn(name, "/"));
	mrn_file_change_open(&c, AT_FDCWD, path, flags);
	MRN_FILE_CHANGE(&c, r, real_shm_open(name, flags, mode), r < 0);
	return r;
}
