/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests of sandboxes: filters (seccomp) that refuse one call, by any action. */
#ifndef TESTS_SANDBOX_FIXTURE_H
#define TESTS_SANDBOX_FIXTURE_H

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/harness/raw.h"

/* The actions of which each is a refusal. */
static const unsigned int sandbox_actions[] = {
	SECCOMP_RET_KILL_PROCESS,  SECCOMP_RET_KILL_THREAD,    SECCOMP_RET_TRAP,
	SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_ERRNO | ENOSYS, SECCOMP_RET_TRACE,
};
#define SANDBOX_ACTIONS (sizeof(sandbox_actions) / sizeof(sandbox_actions[0]))

/* Instructions: all calls pass but nr. */
#define SANDBOX_REFUSES(nr, action)                                            \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)), \
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)(nr), 0, 1), \
		BPF_STMT(BPF_RET | BPF_K, (action)), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* By an instruction of the test's own, as any library may make it: false where there are no filters. */
static inline bool sandbox_enter(const struct sock_filter *code, size_t length, unsigned int flags)
{
	struct sock_fprog program = {(unsigned short)length, (struct sock_filter *)(uintptr_t)code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return false;
	return !test_raw4(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (long)flags, (long)&program, 0);
}

/* By libc, which the interposer stands in front of. */
static inline bool sandbox_enter_seen(const struct sock_filter *code, size_t length)
{
	struct sock_fprog program = {(unsigned short)length, (struct sock_filter *)(uintptr_t)code};

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static inline bool sandbox_refuse(long nr, unsigned int action, unsigned int flags)
{
	const struct sock_filter code[] = {SANDBOX_REFUSES(nr, action)};

	return sandbox_enter(code, sizeof(code) / sizeof(code[0]), flags);
}

#endif
