/* SPDX-License-Identifier: BSD-3-Clause */
/* madvise, process_madvise. */
#include <sys/mman.h>

#include "source/bracket/calls.h"
#include "source/interpose/real.h"
#include "source/interpose/wrapper.h"

#include "os/event_path.h"

static int remove_pages(void *addr, size_t length)
{
	struct mrn_file_change c;
	int r;

	mrn_file_change_remove(&c, addr, length);
	r = MRN_REAL(madvise)(addr, length, MADV_REMOVE);
	mrn_file_change_end(&c);
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
	mrn_bracket_end(&b);
	return r;
}

MRN_INTERPOSED ssize_t process_madvise(int pidfd, const struct iovec *iov, size_t count, int advice,
				       unsigned int flags)
{
	struct mrn_bracket b;
	ssize_t r;

	mrn_bracket_process_madvise(&b, pidfd, iov, count, advice);
	r = MRN_REAL(process_madvise)(pidfd, iov, count, advice, flags);
	mrn_bracket_end(&b);
	return r;
}
