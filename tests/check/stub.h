/* SPDX-License-Identifier: BSD-3-Clause */
/* In place of check/record/registration.c: it notes what those who understand an interface say, and judges nothing. */
#ifndef TESTS_CHECK_STUB_H
#define TESTS_CHECK_STUB_H

#include "check/record/registration.h"

enum stub_state { STUB_FREE, STUB_BEGUN, STUB_DONE, STUB_ENDED };

struct check_reg {
	enum stub_state state;
	enum check_interface of;
	uintptr_t addr;
	size_t length;
	uint32_t flags;
	uint64_t name;
	/* Of its uses, and the last one. */
	unsigned int uses;
	uintptr_t used;
	size_t used_length;
	const char *op;
	bool stale; /* the test's: each use is a finding */
	/* How often it has been pinned again, and which bytes at last. */
	unsigned int again;
	uintptr_t again_addr;
	size_t again_length;
};

#define STUB_MAX 65536
extern struct check_reg stub_regs[STUB_MAX];
/* How many have begun; the newest is stub_regs[stub_begun - 1]. Uses of those that had ended, or past their ends. */
extern unsigned int stub_begun, stub_wrong_uses;

static inline struct check_reg *stub_newest(void)
{
	return &stub_regs[stub_begun - 1];
}

/* How many are in this state. */
unsigned int stub_count(enum stub_state state);

#endif
