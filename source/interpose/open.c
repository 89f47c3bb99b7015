/* SPDX-License-Identifier: BSD-3-Clause */
/* open, openat, creat, open_by_handle_at: may truncate a file that is mapped. */
#undef _FILE_OFFSET_BITS /* else the functions below would be named open64 and so on */

#include <fcntl.h>
#include <stdarg.h>

#include "source/interpose/file_change.h"
#include "source/interpose/real.h"
#include "source/interpose/wrapper.h"

#include "os/event_path.h"

#define BRACKETED(r, folder, path, flags, call)                   \
	do {                                                      \
		struct mrn_file_change c_;                        \
		mrn_file_change_open(&c_, (folder), path, flags); \
		MRN_FILE_CHANGE(&c_, r, call, (r) < 0);           \
	} while (0)

/* Reads the mode, which callers pass only where a file may be made. */
#define TAKE_MODE(mode, flags)                                           \
	do {                                                             \
		va_list list_;                                           \
		va_start(list_, flags);                                  \
		if ((flags)&O_CREAT || ((flags)&O_TMPFILE) == O_TMPFILE) \
			(mode) = va_arg(list_, mode_t);                  \
		va_end(list_);                                           \
	} while (0)

static int open_to_truncate(const char *path, int flags, mode_t mode)
{
	int r;

	BRACKETED(r, AT_FDCWD, path, flags, MRN_REAL(open)(path, flags, mode));
	return r;
}

MRN_INTERPOSED int open(const char *path, int flags, ...)
{
	mode_t mode = 0;

	TAKE_MODE(mode, flags);
	return flags & O_TRUNC ? open_to_truncate(path, flags, mode)
			       : MRN_REAL(open)(path, flags, mode);
}

MRN_INTERPOSED int open64(const char *path, int flags, ...) __attribute__((alias("open")));

/* glibc's own names for these, which any program may call. */
MRN_INTERPOSED int __open(const char *path, int flags, ...)
	__attribute__((alias("open"), nonnull(1)));
MRN_INTERPOSED int __open64(const char *path, int flags, ...)
	__attribute__((alias("open"), nonnull(1)));

static int openat_to_truncate(int folder, const char *path, int flags, mode_t mode)
{
	int r;

	BRACKETED(r, folder, path, flags, MRN_REAL(openat)(folder, path, flags, mode));
	return r;
}

MRN_INTERPOSED int openat(int folder, const char *path, int flags, ...)
{
	mode_t mode = 0;

	TAKE_MODE(mode, flags);
	return flags & O_TRUNC ? openat_to_truncate(folder, path, flags, mode)
			       : MRN_REAL(openat)(folder, path, flags, mode);
}

MRN_INTERPOSED int openat64(int folder, const char *path, int flags, ...)
	__attribute__((alias("openat")));

MRN_INTERPOSED int creat(const char *path, mode_t mode)
{
	int r;

	BRACKETED(r, AT_FDCWD, path, O_TRUNC, MRN_REAL(creat)(path, mode));
	return r;
}

MRN_INTERPOSED int creat64(const char *path, mode_t mode) __attribute__((alias("creat")));

/* The headers turn open and openat into these with _FORTIFY_SOURCE. */
MRN_INTERPOSED int __open_2(const char *path, int flags);
MRN_INTERPOSED int __open_2(const char *path, int flags)
{
	int r;

	BRACKETED(r, AT_FDCWD, path, flags, MRN_REAL(open_2)(path, flags));
	return r;
}

MRN_INTERPOSED int __open64_2(const char *path, int flags) __attribute__((alias("__open_2")));

MRN_INTERPOSED int __openat_2(int folder, const char *path, int flags);
MRN_INTERPOSED int __openat_2(int folder, const char *path, int flags)
{
	int r;

	BRACKETED(r, folder, path, flags, MRN_REAL(openat_2)(folder, path, flags));
	return r;
}

MRN_INTERPOSED int __openat64_2(int folder, const char *path, int flags)
	__attribute__((alias("__openat_2")));

MRN_INTERPOSED int open_by_handle_at(int mount, struct file_handle *handle, int flags)
{
	struct mrn_file_change c;
	int r;

	mrn_file_change_open_handle(&c, mount, handle, flags);
	handle = (struct file_handle *)mrn_file_change_argument(&c, 2, (long)handle);
	MRN_FILE_CHANGE(&c, r, MRN_REAL(open_by_handle_at)(mount, handle, flags), r < 0);
	return r;
}
