/* SPDX-License-Identifier: BSD-3-Clause */
/* What userfaultfd's events announce, of ranges that are armed. */
#include "os/syscall.h"
#include "source/confined.h"
#include "source/kind.h"

static const char *remedy(int error)
{
	switch (error) {
	case -EPERM:
	case -EACCES:
		return "userfaultfd is not permitted: allow it in the seccomp profile, set "
		       "vm.unprivileged_userfaultfd=1, or give access to /dev/userfaultfd";
	case -ENOSYS:
		return "this kernel has no userfaultfd (CONFIG_USERFAULTFD)";
	case -EOPNOTSUPP:
		return "this kernel's userfaultfd lacks the unmap, remap and remove events or "
		       "write protection (Linux 5.7)";
	default:
		return mrn_kind_remedy(error);
	}
}

/* The userfaultfd could not be read any more. On the event path. */
static void events_are_lost(void)
{
	struct mrn_source *s = mrn_source_here();

	if (s)
		mrn_source_has_lost_events(s);
}

static int start(struct mrn_source *s, unsigned int flags)
{
	/* What our threads call, and what libc makes them with. */
	static const long needed[] = {SYS_ppoll,	   SYS_read,
				      SYS_ioctl,	   SYS_clone3,
				      SYS_set_robust_list, SYS_rseq,
				      SYS_mprotect,	   SYS_brk,
				      SYS_getrandom,	   SYS_madvise,
				      SYS_rt_sigaction,	   SYS_rt_sigprocmask};
	const char *why = NULL;
	int r;

	if (mrn_confined_lacks(needed, sizeof(needed) / sizeof(needed[0])) >= 0) {
		mrn_source_add_why(
			s,
			"a sandbox (seccomp) does not let pass what threads for userfaultfd take");
		return -EPERM;
	}
	r = mrn_uffd_start(s->mm, &s->uffd, events_are_lost, &why);
	if (r)
		mrn_source_add_why(s, why ? why : remedy(r));
	return r == -EACCES ? -EPERM : r;
}

static void uncover(struct mrn_source *s)
{
	__atomic_store_n(&s->by_event.before_return, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&s->by_event.use_once, 0, __ATOMIC_RELAXED);
}

static void stop(struct mrn_source *s)
{
	mrn_uffd_stop(&s->uffd);
}

static void forget(struct mrn_source *s)
{
	mrn_uffd_forget(&s->uffd);
}

const struct mrn_kind mrn_kind_uffd = {
	.bit = MRN_SOURCE_UFFD,
	.name = "uffd",
	.start = start,
	.try = mrn_source_try_by_event,
	.uncover = uncover,
	.stop = stop,
	.forget = forget,
};
