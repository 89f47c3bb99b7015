/* SPDX-License-Identifier: BSD-3-Clause */
/* fallocate, ftruncate, truncate. */
#undef _FILE_OFFSET_BITS /* else the functions below would be named fallocate64 and so on */

#include <fcntl.h>
#include <unistd.h>

#include "source/interpose/file_change.h"
#include "source/interpose/real.h"
#include "source/interpose/wrapper.h"

#include "os/event_path.h"

MRN_INTERPOSED int fallocate(int fd, int mode, off_t offset, off_t length)
{
	struct mrn_file_change c;
	int r;

	mrn_file_change_fallocate(&c, fd, mode, offset, length);
	MRN_FILE_CHANGE(&c, r, MRN_REAL(fallocate)(fd, mode, offset, length), r < 0);
	return r;
}

MRN_INTERPOSED int fallocate64(int fd, int mode, off64_t offset, off64_t length)
	__attribute__((alias("fallocate")));

MRN_INTERPOSED int ftruncate(int fd, off_t length)
{
	struct mrn_file_change c;
	int r;

	mrn_file_change_ftruncate(&c, fd, length);
	MRN_FILE_CHANGE(&c, r, MRN_REAL(ftruncate)(fd, length), r < 0);
	return r;
}

MRN_INTERPOSED int ftruncate64(int fd, off64_t length) __attribute__((alias("ftruncate")));

MRN_INTERPOSED int truncate(const char *path, off_t length)
{
	struct mrn_file_change c;
	int r;

	mrn_file_change_truncate(&c, path, length);
	MRN_FILE_CHANGE(&c, r, MRN_REAL(truncate)(path, length), r < 0);
	return r;
}

MRN_INTERPOSED int truncate64(const char *path, off64_t length) __attribute__((alias("truncate")));
