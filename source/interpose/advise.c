/* SPDX-License-Identifier: BSD-3-Clause */
/* madvise, process_madvise. */
#include <sys/mman.h>

#include "source/interpose/file_change.h"
#include "source/interpose/real.h"
#include "source/interpose/wrapper.h"

#include "os/event_path.h"

static int remove_pages(void *addr, size_t length)
{
	struct mrn_file_change c;
	int r;

	mrn_file_change_remove(&c, addr, length);
	MRN_FILE_CHANGE(&c, r, MRN_REAL(madvise)(addr, length, MADV_REMOVE), r < 0);
	return r;
}

MRN_INTERPOSED int madvise(void *addr, size_t length, int advice)
{
	struct mrn_bracket b;
	int r;

	if (advice == MADV_REMOVE)
		return remove_pages(addr, length);
	mrn_bracket_madvise(&b, addr, length, advice);
	r = MRN_REAL(madvise)(addr, length, advice);
	mrn_bracket_end(&b, r < 0);
	return r;
}

static ssize_t remove_many(int pidfd, const struct iovec *iov, size_t count, unsigned int flags)
{
	struct mrn_file_change c;
	ssize_t r;

	mrn_file_change_remove_many(&c);
	MRN_FILE_CHANGE(&c, r, MRN_REAL(process_madvise)(pidfd, iov, count, MADV_REMOVE, flags),
			r < 0);
	return r;
}

MRN_INTERPOSED ssize_t process_madvise(int pidfd, const struct iovec *iov, size_t count, int advice,
				       unsigned int flags)
{
	struct mrn_bracket b;
	ssize_t r;

	if (advice == MADV_REMOVE)
		return remove_many(pidfd, iov, count, flags);
	mrn_bracket_process_madvise(&b, iov, (unsigned int)count, advice);
	r = MRN_REAL(process_madvise)(pidfd, iov, count, advice, flags);
	mrn_bracket_end(&b, r < 0 || mrn_bracket_is_part(&b, r));
	return r;
}
