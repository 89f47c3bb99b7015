/* SPDX-License-Identifier: BSD-3-Clause */
/* What userfaultfd's events announce, for ranges that are armed. */
#include <stdio.h>

#include "os/syscall.h"
#include "source/confined.h"
#include "source/kind.h"

static const struct mrn_remedy remedies[] = {
	{-EPERM, "userfaultfd is not permitted: allow it in the seccomp profile, set "
		 "vm.unprivileged_userfaultfd=1, or give access to /dev/userfaultfd"},
	{-ENOSYS, "this kernel has no userfaultfd (CONFIG_USERFAULTFD)"},
	{-EOPNOTSUPP, "this kernel's userfaultfd lacks the unmap, remap and remove events or "
		      "write protection (Linux 5.7)"},
	{0},
};

/* The userfaultfd can no longer be read. On the event path. */
static void events_are_lost(void)
{
	struct mrn_source *s = mrn_source_here();

	if (s)
		mrn_source_has_lost(s, MRN_KIND_UFFD, 0);
}

static int start(struct mrn_source *s, unsigned int flags, char *why, size_t size)
{
	/* What our threads call. */
	static const long needed[] = {SYS_ppoll, SYS_read, SYS_ioctl};
	const char *reason = NULL;
	int r;

	if (!mrn_confined_allows_threads() ||
	    mrn_confined_lacks(needed, sizeof(needed) / sizeof(needed[0])) >= 0) {
		snprintf(why, size,
			 "a sandbox (seccomp) refuses a call that threads for userfaultfd need");
		return -EPERM;
	}
	r = mrn_uffd_start(s->mm, &s->uffd, events_are_lost, &reason);
	if (reason)
		snprintf(why, size, "%s", reason);
	return r == -EACCES ? -EPERM : r;
}

static void stop(struct mrn_source *s)
{
	mrn_uffd_stop(&s->uffd);
}

static void forget(struct mrn_source *s)
{
	mrn_uffd_forget(&s->uffd);
}

const struct mrn_kind_ops mrn_kind_uffd = {
	.start = start,
	.remedies = remedies,
	.try = mrn_source_try_by_event,
	.stop = stop,
	.forget = forget,
};
