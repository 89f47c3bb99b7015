/* SPDX-License-Identifier: BSD-3-Clause */
/* Dispatch and a thread with an alternate stack, where its calls are caught: what is needed of that one, and of its other one. */
#include <signal.h>
#include <sys/syscall.h>

#include "dispatch_fixture.h"

static void use_alternate(void)
{
	static char memory[65536];
	const stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)};

	CHECK_EQ(sigaltstack(&stack, NULL), 0);
}

static __attribute__((noinline)) void go_down(unsigned int calls)
{
	volatile char here = 0;

	test_raw4(SYS_getppid, 0, 0, 0, 0);
	if (calls)
		go_down(calls - 1);
	here = 1;
	(void)here;
}

/* The main one does, at whichever place it is touched next: to find none there is not to find that there is none. */
TEST(a_stack_that_grows)
{
	struct mrn_source *source = dispatch_or_skip(0);
	struct watched w;

	use_alternate();
	go_down(20000);
	CHECK_ERR(mrn_source_check(source), 0);
	watched_open(&w);
	CHECK_EQ(watched_unmap(&w), 0);
	CHECK_EQ(watched_close(&w), 1);
	CHECK_ERR(mrn_source_detach(source), 0);
}
