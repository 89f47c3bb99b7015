/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Attaching in a sandbox that nobody has seen come, as of a program that was executed in one: whatever it refuses, of all that
 * libmrn calls, and does about it, the program goes on; what is attached works, and what is not says why.
 */
#include <grp.h>
#include <mrn/mrn.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "source/check.h"
#include "tests/harness/break.h"
#include "tests/harness/test.h"
#include "tests/source/sandbox_fixture.h"
#include "source/own_calls.h"

enum { ATTACHED = 100, REFUSED, SAYS_NOTHING, MISSED, NO_FILTERS };

static unsigned int starts;

static bool told(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		 uint64_t seq)
{
	mmu_range_notifier_update_seq(mrn, seq);
	(void)range;
	starts++;
	return true;
}

static const struct mmu_range_notifier_ops ops = {.invalidate = told};

/* Maps without libc, and unmaps by its function. */
static bool is_told(void)
{
	static struct mmu_range_notifier mrn = {.ops = &ops};
	char *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mmu_range_notifier_insert(&mrn, (uintptr_t)p, 4096, mrn_mm_self()))
		return false;
	munmap(p, 4096);
	return starts && !mmu_range_notifier_remove(&mrn);
}

static int attach(unsigned int kind)
{
	char why[512] = "";
	struct mrn_source_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};
	struct mrn_source *source;

	if (mrn_source_attach(mrn_mm_self(), kind, &opts, &source))
		return *why ? REFUSED : SAYS_NOTHING;
	return is_told() ? ATTACHED : MISSED;
}

static int in_child(unsigned int kind, long nr, unsigned int action)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	/* The mm is there from when a program is loaded. */
	if (!pid && !mrn_mm_self())
		_exit(SAYS_NOTHING);
	if (!pid)
		_exit(sandbox_refuse(nr, action, 0) ? attach(kind) : NO_FILTERS);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* By which it is found out; and those that the child makes itself. */
static bool is_needed(const struct mrn_own_call *call)
{
	static const long needed[] = {SYS_openat, SYS_read, SYS_close, SYS_mmap, SYS_munmap};

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (call->nr == needed[i])
			return true;
	return !call->can_be_tried && call->nr != SYS_rt_sigreturn;
}

static void check_each_call(unsigned int kind, unsigned int action)
{
	unsigned int attached = 0, refused = 0;

	if (test_is_sanitized())
		SKIP("a sanitizer makes calls of its own");
	for (unsigned int i = 0; i < mrn_nr_own_calls; i++) {
		const long nr = mrn_own_calls[i].nr;
		int how;

		if (is_needed(&mrn_own_calls[i]) || (i && nr == mrn_own_calls[i - 1].nr))
			continue;
		how = in_child(kind, nr, action);
		if (how == NO_FILTERS)
			SKIP("no seccomp filters here");
		CHECK_MSG(how == ATTACHED || how == REFUSED, "call %ld: %d", nr, how);
		attached += how == ATTACHED;
		refused += how == REFUSED;
	}
	NOTE("attached in %u sandboxes, refused in %u", attached, refused);
	CHECK(attached >= 20);
}

TEST(interpose_where_calls_kill)
{
	check_each_call(MRN_SOURCE_INTERPOSE, SECCOMP_RET_KILL_PROCESS);
}
TWIN(interpose_where_calls_kill, untried, BREAK(CONFINED_TRIAL));

TEST(interpose_where_calls_trap)
{
	check_each_call(MRN_SOURCE_INTERPOSE, SECCOMP_RET_TRAP);
}

TEST(interpose_where_calls_fail)
{
	check_each_call(MRN_SOURCE_INTERPOSE, SECCOMP_RET_ERRNO | EPERM);
}

TEST(dispatch_where_calls_kill)
{
	check_each_call(MRN_SOURCE_DISPATCH, SECCOMP_RET_KILL_PROCESS);
}
TWIN(dispatch_where_calls_kill, untried, BREAK(CONFINED_TRIAL));

TEST(dispatch_where_calls_trap)
{
	check_each_call(MRN_SOURCE_DISPATCH, SECCOMP_RET_TRAP);
}

TEST(dispatch_where_calls_fail)
{
	check_each_call(MRN_SOURCE_DISPATCH, SECCOMP_RET_ERRNO | EPERM);
}

TEST(uffd_where_calls_kill)
{
	check_each_call(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD, SECCOMP_RET_KILL_PROCESS);
}

/* ------------------------------------------------------------------------- a status that is long */

#define GROUPS 2000

static int attach_with_many_groups(void)
{
	static gid_t groups[GROUPS];

	for (unsigned int i = 0; i < GROUPS; i++)
		groups[i] = 100000 + i;
	if (setgroups(GROUPS, groups) ||
	    !sandbox_refuse(SYS_process_vm_readv, SECCOMP_RET_KILL_PROCESS, 0))
		return NO_FILTERS;
	return attach(MRN_SOURCE_DISPATCH);
}

/* What the kernel says of filters comes after the user's groups. */
TEST(of_a_user_with_many_groups)
{
	uint64_t mask = UINT64_MAX;
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		status = attach_with_many_groups();
		test_raw4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&mask, 0, sizeof(mask));
		_exit(status);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_MSG(WIFEXITED(status), "status %x", status);
	if (WEXITSTATUS(status) == NO_FILTERS)
		SKIP("groups take CAP_SETGID");
	CHECK(WEXITSTATUS(status) == ATTACHED || WEXITSTATUS(status) == REFUSED);
}
