/* SPDX-License-Identifier: BSD-3-Clause */
/* What Syscall User Dispatch catches: every call of every thread. */
#include "source/dispatch/dispatch.h"
#include "source/kind.h"
#include "source/process.h"

#define PERMIT \
	"dispatch is not permitted: allow prctl(PR_SET_SYSCALL_USER_DISPATCH) in the seccomp profile"

static const struct mrn_remedy remedies[] = {
	{-EPERM, PERMIT},
	{-EACCES, PERMIT},
	{-EOPNOTSUPP, MRN_DISPATCH_REMEDY},
	{0},
};

/*
 * The calling thread has had its dispatch taken away. Its changes go unseen: so what relied on it is invalidated, and
 * nothing relies on it any more. On the event path.
 */
static void is_lost(void)
{
	struct mrn_source *s = mrn_source_here();

	if (!s)
		return;
	__atomic_store_n(&mrn_source_process->dispatched, false, __ATOMIC_RELEASE);
	mrn_source_has_lost(s, MRN_KIND_DISPATCH, 0);
}

/*
 * An io_uring, or a guest, is about to be made. What was built before may be kept, and their changes are not announced:
 * so all of it is invalidated. On the event path.
 */
static void what_is_kept_may_change(void)
{
	struct mrn_source *s = mrn_source_here();

	if (s)
		mrn_source_invalidate_all(s);
}

static int start(struct mrn_source *s, unsigned int flags, char *why, size_t size)
{
	static const struct mrn_dispatch_ops ops = {
		.lost = is_lost,
		.ring = what_is_kept_may_change,
		.guest = what_is_kept_may_change,
	};
	int r = mrn_dispatch_start(flags & MRN_SOURCE_FOLLOW_FORK, &ops, why, size);

	if (!r)
		__atomic_store_n(&mrn_source_process->dispatched, true, __ATOMIC_RELEASE);
	return r;
}

static void uncover(struct mrn_source *s)
{
	/* The interposer announces again, if it is there. */
	__atomic_store_n(&mrn_source_process->dispatched, false, __ATOMIC_RELEASE);
}

static void stop(struct mrn_source *s)
{
	mrn_dispatch_stop();
}

const struct mrn_kind_ops mrn_kind_dispatch = {
	.start = start,
	.remedies = remedies,
	.try = mrn_source_try_by_call,
	.uncover = uncover,
	.stop = stop,
};
